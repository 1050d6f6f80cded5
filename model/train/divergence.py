"""Divergence: detects a loss that is not finite or spikes, and records the batches to skip on resume."""

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from roi_agent.model.errors import CheckpointMismatch, TrainingDiverged
from roi_agent.model.utils.atomic_files import write_atomically

WINDOW = 100  # losses in the running median
_FEWEST = 10  # losses before a spike can be detected
_FLOOR = 0.1  # minimum of the median: near zero, ordinary noise is a multiple of the loss
_SHOWN = 8  # ids in the error
_FILE = "diverged.json"
_MOST = 10  # skipped batches: with more, the records are not the cause


class LossGuard:
    """Checks each loss.

    factor: a spike is a loss above this multiple of the running median.  losses: the latest ones of a resumed run.
    warmup_steps: steps in which only NaN and infinity count.  kind: what the samples are called in errors.
    """

    def __init__(self, *, factor: float, warmup_steps: int, losses: Sequence[float] = (), kind: str = "records") -> None:
        self.factor, self.warmup_steps, self.kind = factor, warmup_steps, kind
        self.losses: deque[float] = deque(losses, maxlen=WINDOW)

    def check(self, step: int, loss: float, ids: Callable[[], list[str]]) -> None:
        """Check a loss before the optimizer step.  ids: names the samples of the batch.  Error: TrainingDiverged."""
        usual = median(self.losses) if len(self.losses) >= _FEWEST else math.inf
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at step {step}", ids())
        if step >= self.warmup_steps and loss > self.factor * max(usual, _FLOOR):
            raise self._diverged(f"the loss jumps from {usual:.4g} to {loss:.4g} at step {step}", ids())
        self.losses.append(loss)

    def check_gradient(self, step: int, norm: float, ids: Callable[[], list[str]]) -> None:
        """Error: TrainingDiverged for a gradient norm that is not finite."""
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient norm is {norm} at step {step}", ids())

    def _diverged(self, problem: str, ids: list[str]) -> TrainingDiverged:
        shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
        do = f"check these {self.kind}, or lower the learning rate"
        return TrainingDiverged(f"{problem}, on the {self.kind} {shown}", do=do)


@dataclass(frozen=True, slots=True)
class Diverged:
    """The steps at which a run diverged.  Their batches are skipped on resume; otherwise the run would stop there again."""

    folder: Path
    steps: tuple[int, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> "Diverged":
        """Load the steps of a run.  Errors: TrainingDiverged for too many, CheckpointMismatch."""
        file = folder / _FILE
        try:
            steps = tuple(int(step) for step in json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else ()
        except (ValueError, TypeError):
            raise CheckpointMismatch(f"{_FILE} of the run is damaged", do="remove it; the run then repeats its batches") from None
        if len(steps) >= _MOST:
            problem = f"the run diverged at {len(steps)} batches, the last at step {steps[-1]}"
            raise TrainingDiverged(problem, do="lower the learning rate and train into another folder")
        return cls(folder, steps)

    @contextmanager
    def recording(self, step: int, accelerator: Any = None) -> Iterator[None]:
        """A context for a step that records its divergence for the next resume.

        accelerator: of the processes that share the work; all of them see the same loss.  Error: TrainingDiverged.
        """
        try:
            yield
        except TrainingDiverged as error:
            steps = (*self.steps, step)
            if accelerator is None or accelerator.is_main_process:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / _FILE, lambda aside: aside.write_text(json.dumps(steps), encoding="utf-8"))
            if accelerator is not None:
                accelerator.wait_for_everyone()  # the first process to exit ends all
            resume_note = "; the same command resumes from the last checkpoint without this batch"
            raise TrainingDiverged(error.problem, do=f"{error.do}{resume_note if len(steps) < _MOST else ''}") from None
