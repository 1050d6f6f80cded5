"""Actions that end when their visitor disconnects."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator
from contextlib import suppress
from typing import Any

from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.ui.actions import PageState

_TICK_S = 0.5  # interval for checking whether a waiting visitor is still connected


async def while_here(acting: Coroutine[Any, Any, PageState]) -> AsyncIterator[PageState | None]:
    """Yield None at intervals, then the result: at each, Gradio checks for a disconnect, and then closes this generator."""
    working = asyncio.ensure_future(acting)
    try:
        while not (await asyncio.wait([working], timeout=_TICK_S))[0]:
            yield None
        yield working.result()
    finally:
        working.cancel()
        await asyncio.wait([working])


async def stream_while_here(
    talk: Generator[PageState, None, None], leaving: Cancellation
) -> AsyncGenerator[PageState | None, None]:
    """As `while_here`, for a talk, which runs in its own thread; if the visitor leaves, it is cancelled without waiting."""
    loop, news = asyncio.get_running_loop(), asyncio.Queue[PageState | BaseException | None]()

    def put(item: PageState | BaseException | None) -> None:
        with suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(news.put_nowait, item)

    def work() -> None:
        try:
            for state in talk:
                put(state)
                if leaving.cancelled:
                    talk.close()
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=work, daemon=True, name="talk").start()
    try:
        while True:
            try:
                item = await asyncio.wait_for(news.get(), _TICK_S)
            except TimeoutError:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        leaving.cancel()
