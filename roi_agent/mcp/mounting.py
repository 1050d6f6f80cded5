"""The MCP server as a part of the HTTP server, at `/mcp`: with the same gate and lifetime."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pydantic_core
from fastapi import FastAPI
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roi_agent.mcp.protocol import DISCONNECTED
from roi_agent.mcp.workspaces import MAX_WORKSPACES
from roi_agent.settings import MCP_PATH, ServerSettings
from roi_agent.wire.regions import check_values

_MAX_VALUES = 100_000  # per message, since the SDK lists every invalid value; 200 boxes have about a thousand


def mount(app: FastAPI, server: Server[Any], settings: ServerSettings) -> None:
    """Mount the server at /mcp of the application, which checks the key and the limits.

    Foreign pages in a browser on this machine are rejected by their origin.
    """
    inner = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        max_request_body_size=settings.max_body_bytes,
        max_sessions=MAX_WORKSPACES,
        transport_security=_security(settings),
    )
    (route,) = inner.routes
    assert isinstance(route, Route)
    app.router.routes.append(Route(MCP_PATH, endpoint=_CheckedMessages(route.endpoint)))
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(known: FastAPI) -> AsyncIterator[Any]:
        async with outer(known) as state, server.session_manager.run():
            yield state

    app.router.lifespan_context = lifespan


def _security(settings: ServerSettings) -> TransportSecuritySettings:
    """Return the allowed hosts and origins of a local server; a server with a key only checks the key."""
    hosts = ["127.0.0.1", "localhost", "[::1]", *filter(None, [settings.public_host])]
    origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=settings.local,
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[*origins, *(f"{origin}:*" for origin in origins), *settings.allow_origins],
    )


class _CheckedMessages:
    """Checks every message before the SDK parses it: the number of values, and whether its strings are valid Unicode.

    It also sets the event `DISCONNECTED` when a client disconnects.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        content = await Request(scope, receive).body()
        try:
            await asyncio.to_thread(_check, content)
        except ValueError as error:
            await _parse_error(error)(scope, receive, send)
            return
        replayed, disconnected = False, asyncio.Event()

        async def replay() -> Message:
            nonlocal replayed
            if not replayed:
                replayed = True
                return {"type": "http.request", "body": content, "more_body": False}
            message = await receive()
            if message["type"] == "http.disconnect":
                disconnected.set()
            return message

        await self._app({**scope, DISCONNECTED: disconnected}, replay, send)


def _check(content: bytes) -> None:
    """Check the content of a message.  Errors: RequestTooLarge, ValueError."""
    check_values(content, _MAX_VALUES)
    pydantic_core.from_json(content)


def _parse_error(error: ValueError) -> Response:
    fault = {"code": types.PARSE_ERROR, "message": f"the message is not valid JSON: {error}"}
    return Response(json.dumps({"jsonrpc": "2.0", "id": None, "error": fault}), 400, media_type="application/json")
