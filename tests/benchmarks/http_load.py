"""A load generator that costs little beside the server: prepared requests over kept connections, counted by status.

It shares the machine with the server that it measures, so it reads of an answer its status, its length and its text, and no more.
"""

import asyncio
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

_WARM_S = 3.0  # until as many requests wait as ever will
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Load:
    """What came of many requests.  latencies: of those answered with 200, in seconds.  texts: of those, each kind."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    texts: Counter[bytes] = field(default_factory=Counter)

    @property
    def goodput(self) -> float:
        """Answered requests for each second."""
        return self.statuses[200] / self.seconds

    def latency(self, percent: int) -> float:
        return statistics.quantiles(self.latencies, n=100)[percent - 1]


class _Connection(asyncio.Protocol):
    """One request at a time over a kept connection."""

    def __init__(self, requests: "Requests") -> None:
        self._requests = requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def send(self, request: bytes, done: "asyncio.Future[None]") -> None:
        self._done, self._begun, self._received = done, time.perf_counter(), b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ends, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not ends or length is None or len(body) < int(length[1]):
            return
        load, status = self._requests.load, int(head[9:12])
        load.statuses[status] += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - self._begun)
            load.texts.update(self._requests.text.findall(body))
        self._requests.idle.append(self)
        if not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._requests.idle:  # the server closes those that were not used for long
            self._requests.idle.remove(self)
        if hasattr(self, "_done") and not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        self._transport.close()


class Requests:
    """POST requests of one kind.  body: as JSON.  text: what is counted in answers, by its first group."""

    def __init__(self, address: str, path: str, body: object, text: bytes = rb'"text":"([^"]*)"') -> None:
        self._host, _, port = address.removeprefix("http://").partition(":")
        self._port, content = int(port), json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
        self._request = f"{head}\r\n\r\n".encode() + content
        self.text, self.idle, self.load, self._over = re.compile(text), list[_Connection](), Load(), False

    async def closed(self, clients: int, seconds: float) -> Load:
        """So many clients, each asking again as soon as it has its answer."""

        async def client() -> None:
            while not self._over:
                await (await self._begin())

        return await self._measured([client() for _ in range(clients)], seconds)

    async def open(self, rate: float, seconds: float) -> Load:
        """So many requests for each second, however many are still unanswered."""

        async def requests() -> None:
            start, sent = time.perf_counter(), list["asyncio.Future[None]"]()
            while not self._over:
                await asyncio.sleep(max(0.0, start + len(sent) / rate - time.perf_counter()))
                sent.append(await self._begin())
            await asyncio.gather(*sent)

        return await self._measured([requests()], seconds)

    async def _measured(self, clients: list[Coroutine[Any, Any, None]], seconds: float) -> Load:
        """The answers of so many seconds, from when the load has run for a while, and while it still does."""
        self._over, running = False, asyncio.gather(*clients)
        await asyncio.sleep(_WARM_S)
        start, self.load = time.perf_counter(), Load()
        await asyncio.sleep(seconds)
        load, self.load = self.load, Load()
        load.seconds, self._over = time.perf_counter() - start, True
        await running
        return load

    async def _begin(self) -> "asyncio.Future[None]":
        """Send one; the future is done with its answer."""
        if not self.idle:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            self.idle.append(connection)
        done = asyncio.get_running_loop().create_future()
        self.idle.pop().send(self._request, done)
        return done

    def close(self) -> None:
        for connection in self.idle:
            connection.close()
