"""Requests that a proxy forwards under a path prefix."""

from starlette.types import ASGIApp, Receive, Scope, Send


class PublicPath:
    """ASGI middleware for a path prefix that the proxy may or may not strip; routes never see it, and links include it.

    path: such as /roi.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            while path == self._path or path.startswith(f"{self._path}/"):
                path = path.removeprefix(self._path) or "/"
            scope = {**scope, "path": path, "root_path": self._path}
        await self._app(scope, receive, send)
