"""Reports of a running training: a CSV log, TensorBoard files, and a progress bar."""

import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.progress import Progress, TaskID

from roi_agent.model.train.log import Log, steps_bar
from roi_agent.model.train.run_checkpoints import TrainingState
from roi_agent.model.train.speed import peak_flops, utilisation
from roi_agent.model.train.task import Metrics, Task

_log = logging.getLogger(__name__)
LEFT_OUT = "left_out.txt"
_METRICS = ("gradient_norm", "left_out")  # of every task


def count_left_out(folder: Path) -> int:
    """The number of records that a run skipped."""
    file = folder / LEFT_OUT
    return len({line.partition(": ")[0] for line in file.read_text(encoding="utf-8").splitlines()}) if file.is_file() else 0


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step in this process.

    loss, tokens, num_left_out: over all processes.  metrics: of each micro-batch.
    left_out: lines about samples that this process skipped.
    """

    loss: float
    metrics: list[Metrics]
    tokens: int
    left_out: list[str]
    num_left_out: int


class Report:
    """The report of a run: every process has one, the main process writes."""

    def __init__(
        self, task: Task, folder: Path, run_folder: Path, state: TrainingState, accelerator: Accelerator, show_progress: bool
    ) -> None:
        self.task, self.folder, self.state, self.accelerator = task, folder, state, accelerator
        self.left_out_file = run_folder / LEFT_OUT
        self.main = accelerator.is_main_process
        self.log = Log(run_folder / "log.csv", task.phase, state.step, (*task.metrics, *_METRICS))
        self.recent: defaultdict[str, list[float]] = defaultdict(list)
        self.tokens, self.start, self.since = 0, time.monotonic(), time.monotonic()
        self.peak = peak_flops(accelerator.device)
        self.bar: Progress = steps_bar(show_progress and self.main)
        self.row: TaskID | None = None

    @property
    def seconds(self) -> float:
        """Seconds of this run, including those before it was interrupted."""
        return self.state.seconds + time.monotonic() - self.start

    def __enter__(self) -> "Report":
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            done = self.state.step
            self.log.__enter__()
            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=done + 1)
            self.row = self.bar.add_task(self.folder.name, total=self.task.schedule.steps, completed=done, metrics="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.main:
            self.bar.stop()
            self.log.__exit__()
            self.board.close()

    def left_out(self, step: int, ids: list[str]) -> None:
        """Record a step whose batch is skipped, because the run diverged there."""
        self.recent["left_out"].append(float(len(ids)))
        self._list_left_out([f"{each}: in the batch of step {step}, where the training diverged" for each in ids])
        if self.main:
            text = "the batch of step %d is skipped because the training diverged there; its %s are listed in %s"
            _log.warning(text, step, self.task.kind, self.left_out_file)
        if self.row is not None:
            self.bar.update(self.row, advance=1)

    def step(self, result: StepResult, norm: float) -> None:
        """Record a step, and gather the skipped samples of all processes."""
        if result.num_left_out:
            self._list_left_out(gather_object(result.left_out))
        self.tokens += result.tokens
        own = {"loss": result.loss, "gradient_norm": norm, "left_out": float(result.num_left_out)}
        for name, value in (pair for metrics in (own, *result.metrics) for pair in metrics.items()):
            self.recent[name].append(value)
        if self.row is not None:
            self.bar.update(self.row, advance=1, metrics=self._summary())

    def evaluation(self, metrics: Metrics) -> None:
        """Record an evaluation."""
        self.recent.update((name, [value]) for name, value in metrics.items())

    def write(self, done: int, rate: float) -> None:
        """Write means since the last row to the log and TensorBoard."""
        if self.tokens:
            self.recent["tokens_per_second"] = [self._speed()]
            if self.peak:
                share = self._speed() / self.accelerator.num_processes
                self.recent["utilisation"] = [utilisation(share, self.task.num_parameters, self.peak)]
        if self.main:
            self.log.write(done, self.seconds, rate, self.recent)
            for name, values in (*self.recent.items(), ("learning_rate", [rate])):
                self.board.add_scalar(name, sum(values) / len(values), done)
        self.recent.clear()
        self.tokens, self.since = 0, time.monotonic()

    def _speed(self) -> float:
        return self.tokens / max(1e-9, time.monotonic() - self.since)

    def _summary(self) -> str:
        """Means since the last row, for the progress bar."""
        shown = [name for name in ("loss", *self.task.bar_metrics) if name in self.recent]
        means = [f"{name} {sum(self.recent[name]) / len(self.recent[name]):.3f}" for name in shown]
        return "  ".join([*means, *([f"{self._speed():,.0f} tokens/s"] if self.tokens else [])])

    def _list_left_out(self, lines: list[str]) -> None:
        """List skipped samples once, though later epochs and resumed runs see them again."""
        file = self.left_out_file
        if self.main:
            known = set(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else set()
            with file.open("a", encoding="utf-8") as named:
                named.writelines(f"{each}\n" for each in dict.fromkeys(lines) if each not in known)
