"""The log of a run as CSV, and its progress bar."""

import csv
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from roi_agent.model.utils.atomic_files import write_atomically
from roi_agent.model.utils.progress import progress_bar

_COLUMNS = ("phase", "step", "seconds", "learning_rate", "loss")


class Log:
    """Appends rows to the run's CSV; first drops rows after `step`, which a resumed phase writes again."""

    def __init__(self, path: Path, phase: str, step: int, metrics: tuple[str, ...]) -> None:
        self._path, self._phase, self._step, self._columns = path, phase, step, (*_COLUMNS, *metrics)

    def __enter__(self) -> "Log":
        kept = [row for row in self._rows() if row["phase"] != self._phase or int(row["step"]) <= self._step]
        write_atomically(self._path, lambda aside: self._write_rows(aside, kept))
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self._columns, restval="", lineterminator="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, step: int, seconds: float, rate: float, recent: dict[str, list[float]]) -> None:
        """Write a row with means since the last one."""
        metrics = {name: f"{sum(values) / len(values):.6f}" for name, values in recent.items()}
        row = {"phase": self._phase, "step": step, "seconds": f"{seconds:.0f}", "learning_rate": f"{rate:.3g}", **metrics}
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


def steps_bar(show: bool) -> Progress:
    """A progress bar of steps, followed by the field `metrics`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return progress_bar(show, *columns, TextColumn("{task.fields[metrics]}"))
