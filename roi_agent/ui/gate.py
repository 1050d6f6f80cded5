"""The page's gate: the allowed Gradio routes, and checks of their requests.

Gradio's own checks of files and addresses apply to applications that it launches itself, not to one mounted in a server. Requests
are therefore read here before Gradio sees them: calls by `payload`, files by `uploads`, as bytes in memory. A cookie identifies
the visitor.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from roi_agent.model.errors import RequestInvalid, RoiAgentError
from roi_agent.ui import payload, uploads
from roi_agent.ui.visitors import COOKIE, Visitors, is_name, new_name
from roi_agent.wire.regions import ErrorResponse, WireError

PATH = "/ui"
_API = "/gradio_api"
_FILE = f"{_API}/file="
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"  # of a file: neither ".." nor a hidden file
_PAGES = ("/", "/config")
_ASSETS = re.compile(
    rf"/theme\.css|/(?:assets|static)(?:/{_NAME})+|{_API}/app_id|{_API}/custom_component/[0-9a-f]{{64}}/client/component/{_NAME}"
)
_HEADERS = {b"accept", b"accept-encoding", b"host", b"if-modified-since", b"if-none-match", b"user-agent"}  # passed on to Gradio


class PageGate:
    """ASGI application in front of Gradio's.

    inputs: number of inputs of each function.  examples: files that the page shows, by name.
    root: path of the page for browsers.  secure: whether they reach it over TLS.  max_file_bytes: of an upload.
    max_sessions: maximum number of known browser windows.  cookie_s: lifetime of the cookie after the last call, in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        visitors: Visitors,
        *,
        inputs: Mapping[int, int],
        examples: Mapping[str, Path],
        root: str,
        secure: bool,
        max_file_bytes: int,
        max_sessions: int,
        cookie_s: float,
    ) -> None:
        self._app, self._visitors, self._inputs, self._examples = app, visitors, inputs, examples
        self._root, self._max_file_bytes, self._cookie_s = root, max_file_bytes, round(cookie_s)
        self._max_sessions, self._secure = max_sessions, "; Secure" if secure else ""
        self._sessions: OrderedDict[str, str] = OrderedDict()  # session of a browser window -> visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        try:
            app = await self._route(Request(scope, receive))
        except RoiAgentError as error:
            app = _refusal(error)
        await app(scope, receive, send)

    async def _route(self, request: Request) -> ASGIApp:
        """Return the application that answers a request.  Errors: RequestInvalid, and those of the page's limits."""
        method, path = request.method, request.scope["path"].removeprefix(PATH)
        visitor = _visitor(request)
        if method == "POST" and path == f"{_API}/upload":
            return await self._upload(request, visitor or new_name())
        if method == "POST" and path == f"{_API}/queue/join":
            return await self._call(request, visitor)
        if method == "GET" and path == f"{_API}/queue/data":
            session = self._owned(request.query_params.get("session_hash"), visitor)
            return self._gradio(path, visitor, query=f"session_hash={session}")
        if method in ("GET", "HEAD") and path in _PAGES:
            visitor = visitor or new_name()
            return self._with_cookie(self._gradio(path, visitor), visitor)
        if method == "GET" and _ASSETS.fullmatch(path):
            return self._gradio(path, visitor)
        if method == "GET" and path.startswith(_FILE) and (name := path.removeprefix(_FILE)) in self._examples:
            return FileResponse(self._examples[name], headers={"cache-control": "private, max-age=3600"})
        return _NOT_FOUND

    async def _upload(self, request: Request, visitor: str) -> ASGIApp:
        """Store an upload and answer with its handle, instead of a path as Gradio's own route does."""
        try:
            with self._visitors.receiving(visitor) as grow:
                data = await uploads.read_file(request, self._max_file_bytes, grow)
            answer: ASGIApp = JSONResponse([self._visitors.send(visitor, data)])
        except RoiAgentError as error:  # as text: the page shows it unchanged
            answer = PlainTextResponse(str(error), _status(error))
        return self._with_cookie(answer, visitor)

    async def _call(self, request: Request, visitor: str | None) -> ASGIApp:
        """Check a call of the page's scripts, and pass it on rewritten."""
        body = await uploads.read_body(request, payload.MAX_BYTES)
        call = payload.read_call(body, self._inputs, self._examples)
        self._owned(call.session, visitor)
        assert visitor is not None
        return self._with_cookie(self._gradio(f"{_API}/queue/join", visitor, body=call.to_body()), visitor)

    def _owned(self, session: object, visitor: str | None) -> str:
        """Return a window's session, which belongs to the browser that used it first.  Error: RequestInvalid."""
        if visitor is None:
            raise RequestInvalid("the page's cookie is missing", do="allow cookies, and reload the page")
        name = payload.read_session(session)
        if self._sessions.setdefault(name, visitor) != visitor:
            raise RequestInvalid("this session belongs to another visitor", do="reload the page")
        self._sessions.move_to_end(name)
        if len(self._sessions) > self._max_sessions:
            self._sessions.popitem(last=False)
        return name

    def _gradio(self, path: str, visitor: str | None, *, query: str = "", body: bytes = b"") -> ASGIApp:
        """Return an application that passes on only what Gradio needs of a request."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(name, value) for name, value in scope["headers"] if name in _HEADERS]
            headers += [(b"x-gradio-server", self._root.encode())]  # so that its addresses are paths, whatever the host name
            headers += [(b"cookie", f"{COOKIE}={visitor}".encode())] if visitor else []
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())] if body else []
            inner = {
                "path": self._root + path,
                "raw_path": (self._root + path).encode(),
                "root_path": self._root,
                "query_string": query.encode(),
            }
            await self._app({**scope, **inner, "headers": headers}, _replayed(body, receive) if body else receive, send)

        return app

    def _with_cookie(self, app: ASGIApp, visitor: str) -> ASGIApp:
        cookie = f"{COOKIE}={visitor}; Max-Age={self._cookie_s}; Path={self._root}; HttpOnly; SameSite=Lax{self._secure}"

        async def with_cookie(scope: Scope, receive: Receive, send: Send) -> None:
            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).append("set-cookie", cookie)
                await send(message)

            await app(scope, receive, answer)

        return with_cookie


def _visitor(request: Request) -> str | None:
    name = request.cookies.get(COOKIE)
    return name if is_name(name) else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields a body that was already read, then further messages."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _status(error: RoiAgentError) -> int:
    return {"page_full": 503, "request_too_large": 413}.get(error.code, 400)


def _refusal(error: RoiAgentError) -> JSONResponse:
    """Return a response in the form of the server's errors, with the text that Gradio's scripts show as `detail`."""
    return _error(_status(error), error.code, error.problem, error.do)


def _error(status: int, code: str, problem: str, do: str) -> JSONResponse:
    message = f"{problem}; {do}"
    wire = WireError(message=message, type="invalid_request_error", code=code, problem=problem, do=do)
    return JSONResponse({**ErrorResponse(error=wire).model_dump(), "detail": message}, status)


_NOT_FOUND = _error(404, "not_found", "the page has no such route", "open the page at its own address")
