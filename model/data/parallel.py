"""Work shared by several processes, and a lock on the folder that they write to."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from roi_agent.model.errors import InvalidSetting, OutOfMemory
from roi_agent.model.utils.child_processes import end_with_parent

_LOCK_TIMEOUT_S = 5.0


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Lock the folder against other conversions.  Waits some seconds for child processes of a killed conversion to end.

    Error: InvalidSetting.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    problem = f"another conversion is running in {str(folder)!r}"
                    raise InvalidSetting(problem, do="wait for it, or name another folder") from None
                time.sleep(0.1)
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def run_in_processes(work: "partial[int]", parts: Sequence[int], processes: int) -> Iterator[int]:
    """Yield the result of each part as it is finished.  Error: OutOfMemory if a process was killed."""
    if processes == 1 or len(parts) <= 1:
        yield from map(work, parts)
        return
    # Forked processes share the annotations, which may be gigabytes.
    with ProcessPoolExecutor(min(processes, len(parts)), get_context("fork"), _init_worker, (work,)) as pool:
        try:
            with _interrupts_blocked():  # Python loses a SIGINT that arrives during a fork
                waiting = [pool.submit(_run_part, number) for number in parts]
            for each in as_completed(waiting):
                yield each.result()
        except BrokenProcessPool:
            problem = "a process of the conversion was killed, probably because memory ran out"
            raise OutOfMemory(problem, do="run it again with fewer --processes; finished parts are kept") from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay Ctrl-C until the end of the context."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


_worker_state: "list[partial[int]]" = []  # in a forked process: its work, which is too large to send with every part


def _init_worker(work: "partial[int]") -> None:
    _worker_state[:] = [work]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all processes: this one ends, and its parent reports it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()  # else it would wait for work forever


def _run_part(number: int) -> int:
    return _worker_state[0](number)
