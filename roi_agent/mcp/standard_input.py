"""Standard input that can be ended from this side.

The SDK's server reads it in a thread that nothing can stop: Ctrl-C would wait for the host's next line
(https://github.com/modelcontextprotocol/python-sdk/issues/3551).
"""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_INPUT, _AT_ONCE = 0, 65536


@contextmanager
def endable_input() -> Iterator[Callable[[], None]]:
    """Put a pipe before standard input, and give what ends it: its reader then finds the end, as if the host had closed it."""
    source = os.dup(_INPUT)
    ours, theirs = os.pipe()
    stopped, stop = os.pipe()
    os.dup2(ours, _INPUT)
    os.close(ours)
    passing = threading.Thread(target=_pass_on, args=(source, theirs, stopped), name="standard input")
    passing.start()
    try:
        yield lambda: _end(stop)
    finally:
        _end(stop)
        passing.join()
        os.dup2(source, _INPUT)
        for each in (source, stopped, stop):
            os.close(each)


def _end(stop: int) -> None:
    os.write(stop, b".")


def _pass_on(source: int, target: int, stopped: int) -> None:
    """Everything that comes, until the source ends or a byte comes from `stopped`; the target is then closed."""
    with open(target, "wb") as out:
        while stopped not in select.select([source, stopped], [], [])[0]:
            if not (piece := os.read(source, _AT_ONCE)):
                break
            out.write(piece)
            out.flush()
