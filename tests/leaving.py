"""Requests to an application in this process, from clients that may go away."""

import asyncio
import json
from typing import Any

from fastapi import FastAPI


class Leaving:
    """One request; `leave` closes its connection.  reads: without it nothing of the answer goes out, as through a full buffer."""

    def __init__(self, app: FastAPI, method: str, path: str, body: Any = None, *, reads: bool = True) -> None:
        self._reads = reads
        self.status, self.headers, self._content = 0, dict[str, str](), b""
        self._body = b"" if body is None else json.dumps(body).encode()
        self._sent, self._gone = False, asyncio.Event()
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        }  # fmt: skip
        self._answering = asyncio.ensure_future(app(self._scope, self._receive, self._send))

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def content(self) -> str:
        """The whole answer."""
        await asyncio.wait_for(self._answering, 60)
        return self._content.decode()

    async def answer(self) -> Any:
        """The whole answer, from JSON."""
        return json.loads(await self.content())

    async def _receive(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self._content += message.get("body", b"")
