"""Processes that another one starts: Ctrl-C is heard by that one alone, which ends them, and they never outlive it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from multiprocessing.process import BaseProcess
from types import TracebackType


@contextmanager
def children_ignoring_interrupts() -> Iterator[None]:
    """Processes that this thread starts meanwhile do not hear Ctrl-C, not even before their first line of Python.

    A terminal sends it to all processes, and each would tell of it in its own way. Processes inherit which signals the thread
    lets through that starts them, so it lets none through; another one receives it, and Python handles it in the main thread as
    ever.
    """
    resource_tracker.ensure_running()  # it would let the signal through again when it starts with the first process
    ended = threading.Event()
    receiver = threading.Thread(target=ended.wait, name="receives signals", daemon=True)
    receiver.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ended.set()
        receiver.join()


def end_with_parent() -> None:
    """From now on this process ends when the one that started it does, however that ended, and has nothing to say about it."""
    if parent := parent_process():
        sys.excepthook = _excepthook
        threading.Thread(target=_exit_after, args=(parent,), name="watches the parent", daemon=True).start()


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What multiprocessing tells of its own threads: not that nobody is there any more to take what they hand over."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
