"""A client of MCP over HTTP that goes away, or takes its call back, ends the work within a step."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from roi_agent import __version__
from roi_agent.loading import load_models
from roi_agent.mcp import Workspaces, build_server, mount
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from tests.mcp.hosts import DATA_URL
from tests.serving import inside
from tests.stepping import SteppingDetector, SteppingSegmenter, Steps
from tests.waiting import until

CALLS: dict[str, dict[str, Any]] = {
    "segment_everything": {},
    "segment_regions": {"boxes": [[n, 0, n + 9, 9] for n in range(9)]},
    "find_regions": {"phrases": ["star", "umbrella", "flag"]},
}
VERSIONS = ["2025-06-18", "2026-07-28"]


class Site:
    """A server of MCP over models that are held at each step."""

    def __init__(self) -> None:
        self.detector, self.segmenter = SteppingDetector(), SteppingSegmenter()
        models, settings = load_models(detector=self.detector, segmenter=self.segmenter), ServerSettings()
        self.app = build_app(models, settings, name="nano", api=False)
        state = self.app.state.roi
        workspaces = Workspaces(models, folders=[], load=state.images.get)
        mount(self.app, build_server(workspaces, version=__version__, lanes=state.lanes), settings)
        self.address = ""

    def of(self, tool: str) -> Steps:
        return self.detector if tool == "find_regions" else self.segmenter


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    with inside(made.app) as port:
        made.address = f"http://127.0.0.1:{port}/mcp"
        yield made
        made.detector.go.set()
        made.segmenter.go.set()


def client_of(http: httpx2.AsyncClient, address: str) -> Client:
    return Client(streamable_http_client(address, http_client=http))


async def opened(client: Client) -> dict[str, Any]:
    told: Any = await client.call_tool("open_image", {"image": DATA_URL})
    return {"workspace": told.structured_content["data"]["workspace"]}


@pytest.mark.parametrize("tool", CALLS)
async def test_a_call_that_a_client_takes_back_ends_within_a_step(site: Site, tool: str) -> None:
    model = site.of(tool)
    async with httpx2.AsyncClient(timeout=60) as http, client_of(http, site.address) as client:
        where = await opened(client)
        calling = asyncio.ensure_future(client.call_tool(tool, CALLS[tool] | where))
        await until(model.reached.is_set)
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
        await until(lambda: model.cancellation.cancelled)
        model.go.set()
        await until(lambda: model.ended == 1)
        assert model.taken == 1
        assert not (await client.call_tool(tool, CALLS[tool] | where)).is_error


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_that_goes_away_frees_the_lane(site: Site, version: str) -> None:
    model = site.segmenter
    async with httpx2.AsyncClient(timeout=60) as http, client_of(http, site.address) as client:
        where = await opened(client)
    async with httpx2.AsyncClient(timeout=60) as http:
        session = await Raw(http, site.address, version).greeted()
        calling = asyncio.ensure_future(session.call("segment_everything", where))
        await until(model.reached.is_set)
        calling.cancel()  # the connection closes, and nothing is said
        with suppress(asyncio.CancelledError):
            await calling
        await until(lambda: model.cancellation.cancelled)
        model.go.set()
        await until(lambda: model.ended == 1)
        assert model.taken == 1
        assert '"isError":false' in (await session.call("segment_everything", where)).replace(" ", "")


class Raw:
    """A client that writes the protocol itself, of either form."""

    def __init__(self, http: httpx2.AsyncClient, address: str, version: str) -> None:
        self._http, self._address, self._version, self._session = http, address, version, dict[str, str]()

    async def greeted(self) -> "Raw":
        if self._version < "2026":
            params = {"protocolVersion": self._version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
            told = await self._post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
            self._session = {"mcp-session-id": told.headers["mcp-session-id"]}
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if self._version > "2026":
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": self._version,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        return (await self._post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}, name=tool)).text

    async def _post(self, message: dict[str, Any], name: str | None = None) -> httpx2.Response:
        headers = {"accept": "application/json, text/event-stream", "content-type": "application/json", **self._session}
        if self._session or self._version > "2026":
            headers["mcp-protocol-version"] = self._version
        if self._version > "2026":
            headers |= {"mcp-method": message["method"], **({"mcp-name": name} if name else {})}
        told = await self._http.post(self._address, content=json.dumps(message), headers=headers)
        assert told.status_code in (200, 202), told.text
        return told
