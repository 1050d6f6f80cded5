"""A load generator that costs little beside the server: prepared requests over kept connections, counted by status."""

import asyncio
import json
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Load:
    """What came of many requests.  latencies: of those answered with 200, in seconds."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def goodput(self) -> float:
        """Answered requests for each second."""
        return self.statuses[200] / self.seconds

    def latency(self, percent: int) -> float:
        return statistics.quantiles(self.latencies, n=100)[percent - 1]


class Requests:
    """POST requests of one kind.  body: as JSON."""

    def __init__(self, address: str, path: str, body: object) -> None:
        self._host, _, port = address.removeprefix("http://").partition(":")
        self._port, content = int(port), json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
        self._request = f"{head}\r\n\r\n".encode() + content
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def closed(self, clients: int, seconds: float) -> Load:
        """So many clients, each asking again as soon as it has its answer."""
        load, end = Load(seconds), time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await self._send(load)

        await asyncio.gather(*(client() for _ in range(clients)))
        return load

    async def open(self, rate: float, seconds: float) -> Load:
        """So many requests for each second, however many are still unanswered."""
        load, start, sent = Load(seconds), time.perf_counter(), []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            sent.append(asyncio.ensure_future(self._send(load)))
        load.seconds = time.perf_counter() - start
        answered = load.statuses[200]
        await asyncio.gather(*sent)
        load.statuses[200] = answered  # those that came after the load had ended met a server with nothing else to do
        return load

    async def _send(self, load: Load) -> None:
        start = time.perf_counter()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        content = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        self._idle.append((reader, writer))
        status = int(head.split(" ", 2)[1])
        load.statuses[status] += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - start)
            load.answers.update(each["text"] for each in json.loads(content)["answers"])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
