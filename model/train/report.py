"""What a training on records shows while it goes on: a log as CSV, files for TensorBoard, and a progress bar."""

import logging
import time
from collections import defaultdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.progress import Progress, TaskID

from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.log import Log, steps_bar
from roi_agent.model.train.run_checkpoints import Standing
from roi_agent.model.train.samples import Batch
from roi_agent.model.train.speed import peak_flops, utilisation

_log = logging.getLogger(__name__)
LEFT_OUT = "left_out.txt"
_PHASE = "records"  # in the log's column of phases
_FIGURES = ("tokens_per_second", "gradient_norm", "utilisation", "held_out_loss", "held_out_exact", "left_out")


def count_left_out(folder: Path) -> int:
    """How many records a run names that it did not learn from."""
    file = folder / LEFT_OUT
    return len({line.partition(": ")[0] for line in file.read_text(encoding="utf-8").splitlines()}) if file.is_file() else 0


class Report:
    """Every process keeps one; the main process writes.

    steps: of the whole run.  parameters: of the language model.
    """

    def __init__(
        self, job: RecordJob, standing: Standing, steps: int, parameters: int, accelerator: Accelerator, show_progress: bool
    ) -> None:
        self.job, self.standing, self.steps, self.parameters, self.accelerator = job, standing, steps, parameters, accelerator
        self.main = accelerator.is_main_process
        self.recent: defaultdict[str, list[float]] = defaultdict(list)
        self.tokens, self.start, self.since = 0, time.monotonic(), time.monotonic()
        self.peak = peak_flops(accelerator.device)
        self.bar: Progress = steps_bar(show_progress and self.main)
        self.task: TaskID | None = None

    @property
    def seconds(self) -> float:
        """Seconds of this run, with those before it was cut."""
        return self.standing.seconds + time.monotonic() - self.start

    def __enter__(self) -> "Report":
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            done = self.standing.step
            self.log = Log(self.job.folder / "log.csv", _PHASE, done, _FIGURES, digits=6).__enter__()
            self.board = SummaryWriter(str(self.job.folder / "tensorboard"), purge_step=done + 1)
            self.task = self.bar.add_task(self.job.folder.name, total=self.steps, completed=done, figures="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.main:
            self.bar.stop()
            self.log.__exit__()
            self.board.close()

    def left_out(self, step: int, ids: list[str]) -> None:
        """Note a step whose batch is left out: the run diverged at it before."""
        self.recent["left_out"].append(float(len(ids)))
        self._leave_out([f"{each}: in the batch of step {step}, at which the training diverged" for each in ids])
        if self.main:
            file = self.job.folder / LEFT_OUT
            _log.warning("the batch of step %d is left out: the training diverged at it; its records are named in %s", step, file)
        if self.task is not None:
            self.bar.update(self.task, advance=1)

    def step(self, loss: float, tokens: int, norm: float, micros: list[Batch]) -> None:
        """Note a step; processes tell one another of records that were left out."""
        left_out = [each for micro in micros for each in micro.left_out]
        number = self.accelerator.reduce(torch.tensor(len(left_out), device=self.accelerator.device), "sum")
        if int(number):
            self._leave_out(gather_object(left_out))
        self.tokens += tokens
        for name, value in (("loss", loss), ("gradient_norm", norm), ("left_out", float(number))):
            self.recent[name].append(value)
        if self.task is not None:
            speed = self.tokens / max(1e-9, time.monotonic() - self.since)
            mean = sum(self.recent["loss"]) / len(self.recent["loss"])
            self.bar.update(self.task, advance=1, figures=f"loss {mean:.3f}  {speed:,.0f} tokens/s")

    def held_out(self, loss: float, exact: float) -> None:
        """Note an evaluation."""
        self.recent["held_out_loss"], self.recent["held_out_exact"] = [loss], [exact]

    def write(self, done: int, rate: float) -> None:
        """A row of the log and the same for TensorBoard, with the means since the last one."""
        now = time.monotonic()
        speed = self.tokens / max(1e-9, now - self.since)
        self.recent["tokens_per_second"] = [speed]
        if self.peak:
            share = speed / self.accelerator.num_processes
            self.recent["utilisation"] = [utilisation(share, self.parameters, self.peak)]
        if self.main:
            self.log.write(done, self.seconds, rate, self.recent)
            for name, values in (*self.recent.items(), ("learning_rate", [rate])):
                self.board.add_scalar(name, sum(values) / len(values), done)
        self.recent.clear()
        self.tokens, self.since = 0, now

    def _leave_out(self, lines: list[str]) -> None:
        """Name records, each once: epochs and runs that go on meet them again."""
        file = self.job.folder / LEFT_OUT
        if self.main:
            known = set(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else set()
            with file.open("a", encoding="utf-8") as named:
                named.writelines(f"{each}\n" for each in dict.fromkeys(lines) if each not in known)
