"""An MCP server as a part of our HTTP server, at `/mcp`: behind its gate, and ended with it."""

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

_MAX_VALUES = 100_000  # of a message: the SDK lists everything that is wrong with one; 200 boxes are a thousand


def mount(app: FastAPI, server: Server[Any], settings: ServerSettings) -> None:
    """Put the server at /mcp of the application, which asks for the key and keeps the limits.

    A page of a stranger that is open in a browser on this machine is refused by its origin.
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
    """Which origins a server on this machine answers; with a key it answers whoever has it. Hosts are checked there as well."""
    hosts = ["127.0.0.1", "localhost", "[::1]", *filter(None, [settings.public_host])]
    origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=settings.local,
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[*origins, *(f"{origin}:*" for origin in origins), *settings.allow_origins],
    )


class _CheckedMessages:
    """Looks at every message before the SDK does: how many values it holds, and whether its texts can be written again.

    It also notes that a client goes away, for `DISCONNECTED`.
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
    """Errors: RequestTooLarge, ValueError."""
    check_values(content, _MAX_VALUES)
    pydantic_core.from_json(content)


def _parse_error(error: ValueError) -> Response:
    fault = {"code": types.PARSE_ERROR, "message": f"the message is not valid JSON: {error}"}
    return Response(json.dumps({"jsonrpc": "2.0", "id": None, "error": fault}), 400, media_type="application/json")
