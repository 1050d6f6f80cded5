"""Child processes that ignore Ctrl-C, which their parent handles, and that end with their parent."""

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
    """Within the context, processes that this thread starts ignore SIGINT, even before their first line of Python.

    On Ctrl-C, a terminal signals all processes, and each would print its own traceback. Child processes inherit the signal mask
    of the thread that starts them, so this thread blocks SIGINT. Another thread receives it, and Python handles it in the main
    thread as usual.
    """
    resource_tracker.ensure_running()  # it unblocks the signal if it starts with the first child process
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
    """Make this process end, silently, as soon as its parent process ends for any reason."""
    if parent := parent_process():
        sys.excepthook = _excepthook
        threading.Thread(target=_exit_after, args=(parent,), name="watches the parent", daemon=True).start()


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print errors, except those of multiprocessing's threads when the parent no longer reads from them."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
