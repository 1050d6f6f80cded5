"""One table of everything that is measured, in RESULTS.md."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import transformers

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEAD = """# Results

Written by `make bench`. Each comparison ran in one process, in turns (A B B A), so that both sides met the same machine; the
figures are medians, in brackets the middle half of all runs. Nothing here is asserted in the test suite. The generator of load
shares the cores with the server that it measures: what it takes is missing there.

"""


@dataclass
class Table:
    """Rows of the report.  A figure is in milliseconds where nothing else is said."""

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def compare(self, what: str, names: tuple[str, str], times: tuple[list[float], list[float]], goal: str = "") -> None:
        """Two ways to do the same, in seconds: how many times the second is faster."""
        ratio = statistics.median(times[0]) / statistics.median(times[1])
        self._add(
            what, *(f"{name}: {_milliseconds(each)}" for name, each in zip(names, times, strict=True)), f"{ratio:.2f}x", goal
        )

    def time(self, what: str, seconds: Sequence[float], goal: str = "") -> None:
        """One thing, in seconds."""
        self._add(what, _milliseconds(seconds), "", "", goal)

    def note(self, what: str, first: str, second: str = "", result: str = "", goal: str = "") -> None:
        """A row as it is."""
        self._add(what, first, second, result, goal)

    def _add(self, *cells: str) -> None:
        self.rows.append(cells)
        print(" | ".join(cells))

    def write(self) -> None:
        """RESULTS.md: what was measured now, and the earlier rows of what was not, where they come from the same machine."""
        machine, rows = _machine(), {row[0]: row for row in self.rows}
        earlier = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
        kept = [line for line in earlier.splitlines() if line.startswith("| ")][1:] if machine in earlier else []
        lines = {line.removeprefix("| ").partition(" |")[0]: line for line in kept}  # in their order, which stays
        lines |= {name: f"| {' | '.join(row)} |" for name, row in rows.items()}
        head = ["| what | one way | the other way | result | goal |", "|---|---|---|--:|--:|"]
        RESULTS.write_text(f"{_HEAD}{machine}\n\n" + "\n".join([*head, *lines.values()]) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """The report, written at the end."""
    made = Table()
    yield made
    made.write()


def abba(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of both, in turns: A B B A A B B A ...; one unmeasured turn of each comes first."""
    times: tuple[list[float], list[float]] = ([], [])
    first()
    second()
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            start = time.perf_counter()
            (first, second)[side]()
            times[side].append(time.perf_counter() - start)
    return times


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each round, after one that is not measured."""
    seconds = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        work()
        if number:
            seconds.append(time.perf_counter() - start)
    return seconds


def _milliseconds(seconds: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1000 * middle:.1f} ({1000 * low:.1f} to {1000 * high:.1f})"


def _machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        "",
    )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    return f"Machine: {processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {gpu}. {versions}."
