"""Standard input that this process can close.

The SDK's server reads standard input in a thread that cannot be stopped, so Ctrl-C would wait for the host's next line
(https://github.com/modelcontextprotocol/python-sdk/issues/3551).
"""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_INPUT, _CHUNK_BYTES = 0, 65536


@contextmanager
def endable_input() -> Iterator[Callable[[], None]]:
    """Put a pipe in front of standard input, and yield a function that ends it, as if the host had closed it."""
    source = os.dup(_INPUT)
    read_end, write_end = os.pipe()
    stopped, stop = os.pipe()
    os.dup2(read_end, _INPUT)
    os.close(read_end)
    forwarding = threading.Thread(target=_forward, args=(source, write_end, stopped), name="standard input")
    forwarding.start()
    try:
        yield lambda: _end(stop)
    finally:
        _end(stop)
        forwarding.join()
        os.dup2(source, _INPUT)
        for each in (source, stopped, stop):
            os.close(each)


def _end(stop: int) -> None:
    os.write(stop, b".")


def _forward(source: int, target: int, stopped: int) -> None:
    """Copy data until the source ends or a byte arrives from `stopped`, then close the target."""
    with open(target, "wb") as out:
        while stopped not in select.select([source, stopped], [], [])[0]:
            if not (piece := os.read(source, _CHUNK_BYTES)):
                break
            out.write(piece)
            out.flush()
