"""Work for a client that may go away, and work in threads that must not pile up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from roi_agent.model.errors import Cancelled, QueueFull

_T = TypeVar("_T")


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of work that is cancelled when the client goes away.  Error: Cancelled."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Cancelled("the client went away")
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Lane:
    """Runs blocking work in threads: so much at once, and so much waiting.  Error: QueueFull."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._room, self._most, self._inside = asyncio.Semaphore(at_once), at_once + waiting, 0

    async def run(self, work: Callable[[], _T]) -> _T:
        """The result of the work."""
        if self._inside >= self._most:
            raise QueueFull(f"{self._inside} calls wait already", do="try again in a moment")
        self._inside += 1
        try:
            async with self._room:
                return await asyncio.to_thread(work)
        finally:
            self._inside -= 1
