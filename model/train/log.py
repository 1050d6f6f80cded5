"""What a run shows while it goes on: a log as CSV, and a progress bar."""

import csv
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from roi_agent.model.utils.atomic_files import save_aside
from roi_agent.model.utils.progress import progress_bar

Figures = dict[str, float]
_COLUMNS = ("phase", "step", "seconds", "learning_rate", "loss")


class Log:
    """Appends rows to the run's CSV; rows that a phase resumed at `step` will write again are dropped first."""

    def __init__(self, path: Path, phase: str, step: int, figures: tuple[str, ...], *, digits: int = 4) -> None:
        self._path, self._phase, self._step, self._columns = path, phase, step, (*_COLUMNS, *figures)
        self._digits = digits

    def __enter__(self) -> "Log":
        kept = [row for row in self._rows() if row["phase"] != self._phase or int(row["step"]) <= self._step]
        save_aside(self._path, lambda aside: self._write_rows(aside, kept))
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self._columns, restval="", lineterminator="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, step: int, seconds: float, rate: float, recent: dict[str, list[float]]) -> None:
        """A row with the means of what was remembered since the last one."""
        figures = {name: f"{sum(values) / len(values):.{self._digits}f}" for name, values in recent.items()}
        row = {"phase": self._phase, "step": step, "seconds": f"{seconds:.0f}", "learning_rate": f"{rate:.3g}", **figures}
        self._writer.writerow(row)
        self._file.flush()

    def _write_rows(self, path: Path, rows: list[dict[str, str]]) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def remember(recent: dict[str, list[float]], loss: Tensor, figures: Figures) -> None:
    """Add a step's loss and figures to those since the last row."""
    recent["loss"].append(loss.item())
    for name, value in figures.items():
        recent[name].append(value)


def summary(recent: dict[str, list[float]], names: tuple[str, ...]) -> str:
    """The means of what was remembered under these names, for the progress bar."""
    return "  ".join(f"{name} {sum(recent[name]) / len(recent[name]):.3f}" for name in names if name in recent)


def steps_bar(show: bool) -> Progress:
    """A bar of steps with the field `figures` behind it."""
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return progress_bar(show, *shown, TextColumn("{task.fields[figures]}"))
