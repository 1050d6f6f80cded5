"""When a training has gone wrong: a loss that is no number, or far above what it was; and what is left out when it goes on."""

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

WINDOW = 100  # losses behind the running median
_FEWEST = 10  # of them, before a spike can be told
_FLOOR = 0.1  # under the median: near zero, where everything is learned, any doubt is many times the usual
_SHOWN = 8  # ids in the error
_FILE = "diverged.json"
_MOST = 10  # batches that are left out: where more diverge, it is not for their records


class LossGuard:
    """Watches losses one after another.

    factor: over the running median that counts as a spike.  warmup_steps: steps in which only NaN and infinity count.
    losses: the latest ones of a resumed run.  kind: what the samples are called in errors.
    """

    def __init__(self, *, factor: float, warmup_steps: int, losses: Sequence[float] = (), kind: str = "records") -> None:
        self.factor, self.warmup_steps, self.kind = factor, warmup_steps, kind
        self.losses: deque[float] = deque(losses, maxlen=WINDOW)

    def check(self, step: int, loss: float, ids: Callable[[], list[str]]) -> None:
        """ids: names the samples of the batch.  Error: TrainingDiverged; nothing has been learned from the batch by then."""
        usual = median(self.losses) if len(self.losses) >= _FEWEST else math.inf
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at step {step}", ids())
        if step >= self.warmup_steps and loss > self.factor * max(usual, _FLOOR):
            raise self._diverged(f"the loss leaps to {loss:.4g} at step {step}, where {usual:.4g} is usual", ids())
        self.losses.append(loss)

    def check_gradient(self, step: int, norm: float, ids: Callable[[], list[str]]) -> None:
        """Error: TrainingDiverged where the gradient's norm is no number."""
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient's norm is {norm} at step {step}", ids())

    def _diverged(self, problem: str, ids: list[str]) -> TrainingDiverged:
        shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
        do = f"look at these {self.kind}, or lower the learning rate"
        return TrainingDiverged(f"{problem}, on the {self.kind} {shown}", do=do)


@dataclass(frozen=True, slots=True)
class Diverged:
    """The steps at which a run diverged.  Their batches are left out when it goes on, or it would stop there for ever."""

    folder: Path
    steps: tuple[int, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> "Diverged":
        """Those of the run in a folder.  Errors: TrainingDiverged where they are too many, CheckpointMismatch."""
        file = folder / _FILE
        try:
            steps = tuple(int(step) for step in json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else ()
        except (ValueError, TypeError):
            raise CheckpointMismatch(
                f"{_FILE} of the run is damaged", do="remove it, and the run meets its batches again"
            ) from None
        if len(steps) >= _MOST:
            problem = f"the run diverged at {len(steps)} batches, the last at step {steps[-1]}"
            raise TrainingDiverged(problem, do="lower the learning rate and train into another folder")
        return cls(folder, steps)

    @contextmanager
    def recording(self, step: int, accelerator: Any = None) -> Iterator[None]:
        """Within, a step is taken: if it diverges, that is noted for when the run goes on.

        accelerator: of the processes that share the work; all of them meet the same loss.  Error: TrainingDiverged.
        """
        try:
            yield
        except TrainingDiverged as error:
            steps = (*self.steps, step)
            if accelerator is None or accelerator.is_main_process:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / _FILE, lambda aside: aside.write_text(json.dumps(steps), encoding="utf-8"))
            if accelerator is not None:
                accelerator.wait_for_everyone()  # the first one to end is the end of all
            resume_note = "; the same command goes on from the last checkpoint without this batch"
            raise TrainingDiverged(error.problem, do=f"{error.do}{resume_note if len(steps) < _MOST else ''}") from None
