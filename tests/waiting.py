"""Waiting for a state, never for a time."""

import asyncio
import time
from collections.abc import Callable


async def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
