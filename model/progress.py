"""How work that takes a while shows itself: on standard error, and only where a person sees it, in a terminal or a notebook.

Programs that read our output get none of it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


def progress_bar(show: bool = True, *columns: ProgressColumn) -> Progress:
    """A bar for each task.  columns: others than the task's name, what is done of how much, and the time."""
    console = Console(stderr=True)
    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*(columns or usual), console=console, disable=not (show and _is_seen(console)))


@contextmanager
def waiting(text: str, show: bool = True) -> Iterator[None]:
    """A line while something goes on whose end nobody knows; it vanishes."""
    console = Console(stderr=True)
    if not (show and _is_seen(console)):
        yield
        return
    with console.status(f"{text} ..."):
        yield


def _is_seen(console: Console) -> bool:
    """Rich asks the environment too (FORCE_COLOR), and then writes into pipes."""
    return console.is_jupyter or sys.stderr.isatty()
