"""Work for a client that may go away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from roi_agent.lanes import Lane
from roi_agent.model.errors import Cancelled

__all__ = ["Lane", "unless_gone"]

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
