"""How work that takes a while shows itself, always on standard error.

Bars and lines that vanish only where a person sees them, in a terminal or a notebook; elsewhere, in a pipe or a log, a plain line
after some seconds, so that a long silence is no riddle.
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

FIRST_S, AGAIN_S = 5.0, 30.0  # until a plain line, and until the next one
_waiting = ContextVar("_waiting", default=False)


def progress_bar(show: bool = True, *columns: ProgressColumn) -> Progress:
    """A bar for each task, or plain lines about the first one.

    columns: others than the task's name, what is done of how much, and the time.
    """
    console = Console(stderr=True)
    if not _is_interactive(console):
        return _PlainProgress(console=console, disable=True)
    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*(columns or usual), console=console, disable=not show)


@contextmanager
def waiting(text: str, show: bool = True) -> Iterator[None]:
    """Tell that something goes on whose end nobody knows; within another one nothing is added.

    show: where a person sees it, by a line that is there at once and vanishes; else by a plain one where it takes long.
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
    """Bars that nobody sees."""

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
        printer.join()  # no line comes after the end, when standard error may be closed


def _print_lines(text: Callable[[], str], done: threading.Event) -> None:
    begin, patience = time.monotonic(), FIRST_S
    while not done.wait(patience):
        with suppress(OSError, ValueError):  # nobody reads standard error any more
            print(f"{text()} ... {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        patience = AGAIN_S


def _is_interactive(console: Console) -> bool:
    """Rich asks the environment too (FORCE_COLOR), and then writes into pipes."""
    return console.is_jupyter or sys.stderr.isatty()
