"""A load generator that costs little beside the server: prepared requests over kept connections, counted by status.

It shares the machine with the server that it measures, so it reads of an answer its status, its length and its text, and no more.
"""

import asyncio
import json
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Load:
    """What came of many requests.  latencies: of those answered with 200, in seconds.  bodies: of those, each kind."""

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

    def __init__(self, load: "Requests") -> None:
        self._requests = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def send(self, request: bytes, load: Load, done: "asyncio.Future[None]") -> None:
        self._load, self._done, self._begun, self._received = load, done, time.perf_counter(), b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ends, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not ends or length is None or len(body) < int(length[1]):
            return
        load, status = self._load, int(head[9:12])
        load.statuses[status] += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - self._begun)
            load.texts.update(self._requests.text.findall(body))
        self._requests.idle.append(self)
        if not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
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
        self.text, self.idle = re.compile(text), list[_Connection]()

    async def closed(self, clients: int, seconds: float) -> Load:
        """So many clients, each asking again as soon as it has its answer."""
        load, end = Load(seconds), time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await (await self._begin(load))

        await asyncio.gather(*(client() for _ in range(clients)))
        return load

    async def open(self, rate: float, seconds: float) -> Load:
        """So many requests for each second, however many are still unanswered."""
        load, start, sent = Load(seconds), time.perf_counter(), []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            sent.append(await self._begin(load))
        load.seconds = time.perf_counter() - start
        answered = load.statuses[200]
        await asyncio.gather(*sent)
        load.statuses[200] = answered  # those that came after the load had ended met a server with nothing else to do
        return load

    async def _begin(self, load: Load) -> "asyncio.Future[None]":
        """Send one; the future is done with its answer."""
        if not self.idle:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            self.idle.append(connection)
        done = asyncio.get_running_loop().create_future()
        self.idle.pop().send(self._request, load, done)
        return done

    def close(self) -> None:
        for connection in self.idle:
            connection.close()
