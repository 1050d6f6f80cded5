"""What every request passes first: the key, the limits, a name for the logs, and a line in them once it is answered."""

import hmac
import json
import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roi_agent.model.engine import Engine
from roi_agent.model.errors import QueueFull, RequestTooLarge, RoiAgentError, Unauthorised
from roi_agent.server import faults
from roi_agent.server.metrics import Metrics
from roi_agent.settings import ServerSettings

OPEN = ("/healthz", "/readyz")  # without a key
_QUESTIONS = ("/v1/chat/completions", "/v1/regions/ask")
_log = logging.getLogger("roi_agent.requests")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, engine: Engine | None) -> None:
        self._app, self._settings, self._metrics, self._engine = app, settings, metrics, engine
        self._inside = self._turned_away = 0
        self._told = -1.0
        self._full = faults.answer(QueueFull("the server has all the questions that it can answer soon", do="try again"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        crowded = path in _QUESTIONS and self._engine is not None and self._engine.crowded
        if crowded or (self._inside >= self._settings.max_requests and path not in OPEN):
            await self._turn_away(scope, receive, send)
            return
        begin, headers = time.perf_counter(), Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        name = asked if _NAME.fullmatch(asked) else f"req-{uuid.uuid4().hex}"
        status = 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        self._inside += 1
        self._metrics.in_progress.inc()
        try:
            refusal = self._refusal(scope["path"], headers)
            if refusal is not None:
                await faults.answer(refusal)(scope, receive, named)
            else:
                await self._app(scope, self._counted(receive), named)
        finally:
            self._inside -= 1
            self._metrics.in_progress.dec()
            self._note(scope, name, status, time.perf_counter() - begin)

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell the client to come again later, at the least cost: under overload this is what the server does most.

        Before the key is looked at, and with a line in the log for all of a second.
        """
        await self._full(scope, receive, send)
        self._metrics.turned_away.inc()
        self._turned_away += 1
        now = time.monotonic()
        if now - self._told > 1:
            _log.warning("%s", json.dumps({"turned_away": self._turned_away, "in_progress": self._inside}))
            self._turned_away, self._told = 0, now

    def _refusal(self, path: str, headers: Headers) -> RoiAgentError | None:
        if path in OPEN:
            return None
        key = self._settings.api_key
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if key is not None and not hmac.compare_digest(given.encode(), key.encode()):
            return Unauthorised("the API key is missing or wrong", do="send it as: Authorization: Bearer KEY")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._settings.max_body_bytes:
            return RequestTooLarge(f"the body has {length} bytes", do=self._limit)
        return None

    @property
    def _limit(self) -> str:
        return f"send at most {self._settings.max_body_bytes}"

    def _counted(self, receive: Receive) -> Receive:
        """For bodies that do not say how long they are."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._settings.max_body_bytes:
                raise HTTPException(413, f"the body is too long; {self._limit} bytes")
            return message

        return counted

    def _note(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        """Neither contents nor keys; the route and not the path, of which there are endlessly many."""
        route: Any = scope.get("route")
        path = getattr(route, "path", "none")
        self._metrics.requests.labels(path, str(status)).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        line = {"request": name, "method": scope["method"], "route": path, "status": status, "ms": round(1000 * seconds, 1)}
        _log.info("%s", json.dumps(line))
