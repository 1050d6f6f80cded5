"""An MCP server over the streams of this process, or over HTTP."""

import asyncio
import hmac
import signal
from collections.abc import Callable

import uvicorn
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from roi_agent.mcp.standard_input import endable_input
from roi_agent.settings import ServerSettings


def run_stdio(server: Server) -> bool:
    """Until the host closes the stream, or SIGTERM or Ctrl-C do; returns whether it was Ctrl-C.

    Standard output belongs to the protocol.
    """
    heard: list[int] = []

    async def serve(end: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            heard.append(number)
            loop.remove_signal_handler(number)  # the next one does not wait for the tool that is at work
            end()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        options = server.create_initialization_options(NotificationOptions(resources_changed=True))
        async with stdio_server() as (read, write):
            await server.run(read, write, options)

    with endable_input() as end:
        asyncio.run(serve(end))
    return signal.SIGINT in heard


def run_http(server: Server, settings: ServerSettings) -> None:
    """At /mcp, until SIGTERM, or until Ctrl-C, after which KeyboardInterrupt is raised."""
    app = server.streamable_http_app(host=settings.host, max_request_body_size=settings.max_body_bytes)
    guarded = _Keyed(app, settings.api_key) if settings.api_key else app
    config = uvicorn.Config(
        guarded,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=round(settings.drain_s),
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn stops at it, and then sends it again, to end the process badly
    uvicorn.Server(config).run()


class _Keyed:
    """Asks every HTTP request for the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._key):
                refusal = {"error": "the API key is missing or wrong; send it as: Authorization: Bearer KEY"}
                await JSONResponse(refusal, 401, {"www-authenticate": "Bearer"})(scope, receive, send)
                return
        await self._app(scope, receive, send)
