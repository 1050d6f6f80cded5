"""`roi-agent mcp` in a process of its own, over stdio and over HTTP, and how it ends."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from roi_agent import Workspace
from roi_agent.model.domain.nano import NANO
from tests import forking
from tests.mcp.hosts import SCENE, right_answer
from tests.serving import ROOT, serving

COMMAND = [sys.executable, "-c", "from roi_agent.cli import main; main()", "mcp"]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


async def test_over_stdio_in_a_process_of_its_own(tmp_path: Path) -> None:
    arguments = [*COMMAND[1:], str(SCENE), "--workspace", str(tmp_path / "kept")]
    async with Client(StdioServerParameters(command=COMMAND[0], args=arguments, env=environment(), cwd=ROOT)) as client:
        assert "roi://images/image1" in {str(each.uri) for each in (await client.list_resources()).resources}
        await right_answer(client, str(SCENE))
    assert {region.label for region in Workspace.load(tmp_path / "kept").regions()} >= {"orange umbrella", "yellow square"}


def message(method: str, number: int | None = None, **params: Any) -> str:
    """A line of the protocol."""
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params} | ({} if number is None else {"id": number})) + "\n"


GREETING = message(
    "initialize", 1, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "test", "version": "1"}
) + message("notifications/initialized")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c", marks=pytest.mark.sweep),
        pytest.param(signal.SIGTERM, 0, id="terminated", marks=pytest.mark.sweep),
        pytest.param(None, 0, id="stream closed"),
    ],
)
def test_however_a_host_is_left_its_workspace_is_kept(tmp_path: Path, number: signal.Signals | None, code: int) -> None:
    process = forking.command("mcp", str(SCENE), "--workspace", str(tmp_path), listens=True)
    added = message("tools/call", 2, name="add_region", arguments={"box": [123, 194, 303, 377], "label": "umbrella"})
    process.stdin.write(GREETING + added)
    process.stdin.flush()
    while not process.out or json.loads(process.out[-1]).get("id") != 2:
        assert process.poll() is None
        time.sleep(0.01)
    count = len(process.out)
    if number is None:
        process.stdin.close()
    else:
        process.send_signal(number)
    assert (process.wait(30), process.out[count:], process.errors) == (code, [], [])
    assert [region.label for region in Workspace.load(tmp_path).regions()] == ["umbrella"]


async def test_ctrl_c_ends_a_server_that_has_clients() -> None:
    with serving("--http", command="mcp") as running:
        async with Client(streamable_http_client(running.address)) as client:
            assert (await client.list_tools()).tools
            assert running.stop(signal.SIGINT) == 130
        about, first, *others = (line.rstrip("\n") for line in running.lines)
        assert about == NANO and first == f"roi-agent serves MCP at {running.address}"
        assert all('{"request": ' in line for line in others)
