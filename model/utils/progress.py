"""Progress of long work, always on standard error.

A terminal or a notebook shows bars and status lines that disappear at the end. A pipe or a log gets plain lines, the first after
some seconds.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

FIRST_S, AGAIN_S = 5.0, 30.0  # until the first plain line, and until each further one
_waiting = ContextVar("_waiting", default=False)


def progress_bar(show: bool = True, *columns: ProgressColumn) -> Progress:
    """Return a progress bar for each task, or plain lines about the first task.

    columns: instead of the default ones (description, bar, count, elapsed and remaining time).
    """
    console = Console(stderr=True)
    if not _is_interactive(console):
        return _PlainProgress(console=console, disable=True)
    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*(columns or usual), console=console, disable=not show)


@contextmanager
def waiting(text: str, show: bool = True) -> Iterator[None]:
    """Show that work of unknown length is running; an inner `waiting` shows nothing.

    show: print a status line at once if the output is interactive. Otherwise, print plain lines if the work takes long.
    """
    if _waiting.get():
        yield
        return
    console, before = Console(stderr=True), _waiting.set(True)
    try:
        with console.status(f"{text} ...") if show and _is_interactive(console) else _lines_if_slow(lambda: text):
            yield
    finally:
        _waiting.reset(before)


class _PlainProgress(Progress):
    """Prints plain lines instead of bars."""

    def start(self) -> None:
        super().start()
        self._printing = ExitStack()
        if not _waiting.get():
            before = _waiting.set(True)
            self._printing.callback(_waiting.reset, before)
            self._printing.enter_context(_lines_if_slow(self._status))

    def stop(self) -> None:
        self._printing.close()
        super().stop()

    def _status(self) -> str:
        task = next(iter(self.tasks), None)
        if task is None:
            return "working"
        return f"{task.description}, {task.percentage:.0f} %" if task.total and task.completed else task.description


@contextmanager
def _lines_if_slow(text: Callable[[], str]) -> Iterator[None]:
    done = threading.Event()
    printer = threading.Thread(target=_print_lines, args=(text, done), daemon=True, name="waiting")
    printer.start()
    try:
        yield
    finally:
        done.set()
        printer.join()  # no line is printed after the end, when standard error may be closed


def _print_lines(text: Callable[[], str], done: threading.Event) -> None:
    begin, patience = time.monotonic(), FIRST_S
    while not done.wait(patience):
        with suppress(OSError, ValueError):  # standard error is closed
            print(f"{text()} ... {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        patience = AGAIN_S


def _is_interactive(console: Console) -> bool:
    """Whether a person sees the output.  Rich's own check honours FORCE_COLOR, even for pipes."""
    return console.is_jupyter or sys.stderr.isatty()
