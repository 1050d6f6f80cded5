"""The gate that every request passes first: key, limits, request id, and a log line with the response."""

import base64
import binascii
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

from roi_agent.model.errors import RequestInvalid, RequestTooLarge, RoiAgentError, Unauthorised
from roi_agent.server import description, error_responses
from roi_agent.server.load import Load
from roi_agent.server.metrics import Metrics
from roi_agent.settings import MCP_PATH, ServerSettings

PUBLIC_PATHS = ("/healthz", "/readyz", *description.PATHS)  # need no key
MONITORING_PATHS = ("/healthz", "/readyz", "/metrics")  # never rejected under overload, when they are needed most
PAGE_PATHS = ("/", "/favicon.ico", "/ui")  # the web page and everything below /ui
QUESTION_PATHS = ("/v1/chat/completions", "/v1/regions/ask")  # answered by the region model
_log = logging.getLogger("roi_agent.requests")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """ASGI middleware around the entire application."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, load: Load) -> None:
        self._app, self._settings, self._metrics, self._load = app, settings, metrics, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path not in MONITORING_PATHS and (self._load.should_shed() if path in QUESTION_PATHS else self._load.is_full):
            self._load.count_rejected()  # before the key is checked, to cost as little as possible
            await self._load.answer(scope, receive, send)
            return
        if _is_page(path):
            await self._page(scope, receive, send)
            return
        begin, headers = time.perf_counter(), Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        name = asked if _REQUEST_ID.fullmatch(asked) else f"req-{uuid.uuid4().hex}"
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _unbuffered(message)["x-request-id"] = name
            await send(message)

        # MCP hosts listen for notifications for hours; the SDK limits their sessions.
        counts = path not in MONITORING_PATHS and not (path == MCP_PATH and scope["method"] == "GET")
        self._load.in_progress += counts
        self._metrics.in_progress.inc()
        try:
            refusal = self._refusal(scope["path"], headers)
            if refusal is not None:
                await error_responses.error_response(refusal)(scope, receive, send_with_id)
            else:
                await self._app(scope, self._limit_body(receive), send_with_id)
        finally:
            self._load.in_progress -= counts
            self._metrics.in_progress.dec()
            self._log(scope, name, status, time.perf_counter() - begin)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a browser's request for the page, which is neither counted nor logged: a page has dozens of files.

        Browsers ask for the key as the password of any user (HTTP Basic) and then send it with every request. Other routes do not
        accept the password, so that foreign pages cannot make use of it.
        """

        async def send_unbuffered(message: Message) -> None:
            if message["type"] == "http.response.start":
                _unbuffered(message)
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is None and headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD"):
            refusal = RequestInvalid("a page of another site sent this", do="use the page itself")
        if refusal is None:
            await self._app(scope, self._limit_body(receive), send_unbuffered)
            return
        response = error_responses.error_response(refusal)
        if isinstance(refusal, Unauthorised):
            response.headers["www-authenticate"] = 'Basic realm="roi-agent: any name, and the API key as password"'
        await response(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> RoiAgentError | None:
        if path in PUBLIC_PATHS:
            return None
        key, given = self._settings.api_key, _key(headers.get("authorization", ""), page=_is_page(path))
        if key is not None and not hmac.compare_digest(given.encode(), key.encode()):
            return Unauthorised("the API key is missing or wrong", do="send it as: Authorization: Bearer KEY")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._settings.max_body_bytes:
            return RequestTooLarge(f"the body has {length} bytes", do=self._limit)
        return None

    @property
    def _limit(self) -> str:
        return f"send at most {self._settings.max_body_bytes}"

    def _limit_body(self, receive: Receive) -> Receive:
        """Limit bodies without a content length."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._settings.max_body_bytes:
                raise HTTPException(413, f"the body is too long; {self._limit} bytes")
            return message

        return limited

    def _log(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        """Log a request without contents and keys, by its route and not by its path, of which there is no end."""
        route: Any = scope.get("route")
        path = getattr(route, "path", MCP_PATH if scope["path"] == MCP_PATH else "none")
        self._metrics.requests.labels(path, str(status)).inc()
        self._metrics.seconds.labels(path).observe(seconds)
        line = {"request": name, "method": scope["method"], "route": path, "status": status, "ms": round(1000 * seconds, 1)}
        _log.info("%s", json.dumps(line))


def _is_page(path: str) -> bool:
    return path in PAGE_PATHS or path.startswith("/ui/")


def _key(authorization: str, *, page: bool) -> str:
    """Return the key in the header; for the page, also the password of HTTP Basic."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    return _password(given) if page and scheme.lower() == "basic" else authorization


def _password(basic: str) -> str:
    """Return the password of HTTP Basic; empty if invalid."""
    try:
        return base64.b64decode(basic.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _unbuffered(start: Message) -> MutableHeaders:
    """Return the headers of a response; those of a stream disable buffering in proxies."""
    headers = MutableHeaders(scope=start)
    if headers.get("content-type", "").startswith("text/event-stream"):
        headers["x-accel-buffering"] = "no"
        headers.setdefault("cache-control", "no-cache")
    return headers
