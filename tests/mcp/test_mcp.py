"""The tools through MCP: the SDK's own client, in this process, over stdio and over HTTP."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from PIL import Image

from roi_agent import Workspace, __version__
from roi_agent.loading import build_toolbox, load_models
from roi_agent.mcp import Workspaces, build_server
from roi_agent.mcp.workspaces import KEEP_S
from roi_agent.model.domain.introduction import NANO
from roi_agent.model.errors import ImageUnreadable, InvalidSetting
from roi_agent.tools.models import Models
from tests.serving import ROOT, free_port

SCENE = ROOT / "examples" / "scene1.png"
DATA_URL = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
KEY = "a-key-of-16-signs"
COMMAND = [sys.executable, "-c", "from roi_agent.cli import main; main()", "mcp"]


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture
def client(models: Models) -> Client:
    """Over the only workspace, as stdio serves it; each test opens it in its own task."""
    return Client(build_server(Workspaces(models, only=Workspace()), version=__version__))


@pytest.fixture
def apart(models: Models) -> Client:
    """Over workspaces by name, as HTTP serves them."""
    return Client(build_server(Workspaces(models, folders=[]), version=__version__))


async def call(client: Client, tool: str, arguments: dict[str, Any], **options: Any) -> Any:
    return await client.call_tool(tool, arguments, **options)


async def contents(client: Client, uri: str) -> list[Any]:
    return list((await client.read_resource(uri)).contents)


async def right_answer(client: Client, image: str, **workspace: str) -> None:
    """What any host's model would do: find, ask, compare, look."""
    opened = await call(client, "open_image", {"image": image, **workspace})
    assert not opened.is_error, opened.content
    named = opened.structured_content["data"].get("workspace")
    where = {"workspace": named} if named else {}
    found = await call(client, "find_regions", {"phrases": ["orange umbrella", "yellow square"], **where})
    regions = {region["label"]: region["name"] for region in found.structured_content["regions"]}
    umbrella, square = regions["orange umbrella"], regions["yellow square"]
    asked = await call(client, "ask_about_regions", {"question": f"What colour is <{umbrella}>?", **where})
    assert asked.content[0].text.startswith("orange (confidence ")
    compared = await call(client, "compare_regions", {"first": umbrella, "second": square, **where})
    assert "left of" in compared.content[0].text and not compared.is_error
    looked = await call(client, "look_at_image", where)
    picture = next(each for each in looked.content if each.type == "image")
    assert picture.mime_type == "image/png" and Image.open(io.BytesIO(base64.b64decode(picture.data))).size == (512, 512)


# -- tools


async def test_a_host_gets_right_answers(client: Client) -> None:
    async with client:
        await right_answer(client, str(SCENE))
        assert client.server_info is not None and client.server_info.version == __version__
        assert "open_image" in (client.instructions or "")


async def test_the_tools_are_those_of_the_toolbox_with_their_schemas(client: Client, apart: Client) -> None:
    async with client, apart:
        expected = {each["function"]["name"]: each["function"] for each in build_toolbox().openai_tools()}
        tools: dict[str, Any] = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {*expected, "open_image"}
        for name, wanted in expected.items():
            assert tools[name].description == wanted["description"]
            assert tools[name].input_schema["properties"] == wanted["parameters"]["properties"]
            assert tools[name].output_schema is not None and tools[name].annotations is not None
        assert tools["ask_about_regions"].annotations.read_only_hint and not tools["find_regions"].annotations.read_only_hint
        for tool in (await apart.list_tools()).tools:
            assert "workspace" in tool.input_schema["properties"]
            assert ("workspace" in tool.input_schema["required"]) == (tool.name != "open_image")


async def test_tools_that_only_read_add_no_image_and_no_region(client: Client) -> None:
    examples: dict[str, dict[str, Any]] = {
        "ask_about_regions": {"question": "What colour is <region1>?", "closer": True},
        "ask_each_region": {"question": "What is <region>?"},
        "choose_answer": {"question": "What is <region1>?", "options": ["a star", "a flag"]},
        "compare_regions": {"first": "region1", "second": "region2"},
        "order_regions": {"order": "nearest first", "to": "region1"},
        "select_regions": {"place": "left"},
        "count_regions": {},
        "list_regions": {},
        "look_at_image": {},
    }
    async with client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools if tool.annotations and tool.annotations.read_only_hint} == set(examples)
        await call(client, "open_image", {"image": str(SCENE)})
        for box in ([20, 60, 40, 80], [200, 20, 225, 40]):
            await call(client, "add_region", {"box": box})
        before = (await client.list_resources()).resources
        for tool, arguments in examples.items():
            assert not (await call(client, tool, arguments)).is_error
        assert (await client.list_resources()).resources == before
        listed = await call(client, "list_regions", {})
        assert [image["name"] for image in listed.structured_content["data"]["images"]] == ["image1"]


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("ask_about_regions", {"question": "What is <region9>?"}, "unknown_region: region9"),
        ("ask_about_regions", {"question": "What is <region9>?", "loudly": True}, "invalid_arguments: loudly"),
        ("ask_about_regions", {}, "invalid_arguments: question"),
        ("find_everything", {}, "invalid_setting: there is no tool 'find_everything'; use find_regions"),
        ("open_image", {"image": "nowhere.png"}, "image_unreadable"),
        ("open_image", {"image": 7}, "invalid_setting: open_image takes one image"),
        ("open_image", {}, "invalid_setting: open_image takes one image"),
        ("open_image", {"image": "http://169.254.169.254/"}, "image_unreadable"),
        ("add_region", {"box": [0, 0, 9999, 10]}, "box_out_of_bounds"),
    ],
)
async def test_errors_are_ones_that_a_model_can_act_on(
    client: Client, tool: str, arguments: dict[str, Any], problem: str
) -> None:
    async with client:
        await call(client, "open_image", {"image": str(SCENE)})
        told = await call(client, tool, arguments)
        assert told.is_error and told.content[0].text.startswith(problem), told.content


async def test_progress_is_told_while_a_tool_works(client: Client) -> None:
    async with client:
        heard: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, message))

        await call(client, "open_image", {"image": str(SCENE)})
        await call(client, "segment_everything", {}, progress_callback=note)
        assert heard[0][1] == "segment_everything has begun" and heard[-1][1] == "segment_everything is done"
        steps = [progress for progress, _ in heard]
        assert steps == sorted(set(steps)) and len(steps) >= 2


# -- resources


async def test_images_and_regions_are_resources(client: Client) -> None:
    async with client:
        await call(client, "open_image", {"image": str(SCENE)})
        await call(client, "add_region", {"box": [123, 194, 303, 377], "label": "umbrella"})
        listed = {str(each.uri): each.mime_type for each in (await client.list_resources()).resources}
        assert listed == {"roi://images/image1": "image/png", "roi://regions": "application/json"}
        (image,) = await contents(client, "roi://images/image1")
        assert Image.open(io.BytesIO(base64.b64decode(image.blob))).tobytes() == Image.open(SCENE).convert("RGB").tobytes()
        (regions,) = await contents(client, "roi://regions")
        (region,) = await contents(client, "roi://regions/region1")
        assert json.loads(regions.text) == [json.loads(region.text)]
        assert json.loads(region.text)["box"] == [123, 194, 303, 377]
        assert len((await client.list_resource_templates()).resource_templates) == 2
        for uri in ("roi://images/image9", "roi://regions/region9", "roi://secrets", "roi://ws-000000000000000000000000/x"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)


# -- workspaces by name


async def test_clients_over_http_do_not_see_one_another(apart: Client) -> None:
    async with apart:
        names = []
        for _ in range(2):
            opened = await call(apart, "open_image", {"image": DATA_URL})
            names.append(opened.structured_content["data"]["workspace"])
            assert opened.content[0].text.startswith("image1 (512 x 512 pixels) in the workspace ws-")
        first, second = names
        await call(apart, "add_region", {"box": [0, 0, 50, 50], "workspace": first})
        told = await call(apart, "list_regions", {"workspace": second})
        assert told.structured_content["regions"] == []
        assert (await apart.list_resources()).resources == []
        (region,) = await contents(apart, f"roi://{first}/regions/region1")
        assert json.loads(region.text)["box"] == [0, 0, 50, 50]
        for workspace in ({}, {"workspace": "ws-" + "0" * 24}, {"workspace": 7}):
            told = await call(apart, "list_regions", workspace)
            assert told.is_error and told.content[0].text.startswith("invalid_setting")
        more = await call(apart, "open_image", {"image": DATA_URL, "workspace": first})
        assert not more.is_error and more.structured_content["data"]["image"] in ("image1", "image2")


def test_files_are_read_from_allowed_folders_only(models: Models, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link.png").symlink_to(outside / "secret.png")
    workspaces = Workspaces(models, folders=[inside])
    workspaces.check_source(str(inside / "any.png"))
    workspaces.check_source(DATA_URL)
    (outside / "secret.png").write_bytes(SCENE.read_bytes())
    told = set()
    for path in (outside / "secret.png", outside / "none.png", inside / ".." / "outside" / "secret.png", inside / "link.png"):
        with pytest.raises(ImageUnreadable) as caught:
            workspaces.check_source(str(path))
        told.add(str(caught.value))
    assert len(told) == 1  # nothing tells whether there is a file
    with pytest.raises(ImageUnreadable):
        workspaces.check_source("\0")


def test_workspaces_are_forgotten_by_time_and_number(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roi_agent.mcp.workspaces.MOST", 3)
    now = 0.0
    workspaces = Workspaces(models, folders=[], clock=lambda: now)
    names = [workspaces.open()[0] for _ in range(4)]
    assert len(workspaces) == 3 and len(set(names)) == 4
    with pytest.raises(InvalidSetting, match="forgotten"):
        workspaces.get(names[0])
    now = KEEP_S + 1
    with pytest.raises(InvalidSetting, match="forgotten"):
        workspaces.get(names[3])


# -- the command


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


async def test_over_stdio_in_a_process_of_its_own(tmp_path: Path) -> None:
    arguments = [*COMMAND[1:], str(SCENE), "--workspace", str(tmp_path / "kept")]
    async with Client(StdioServerParameters(command=COMMAND[0], args=arguments, env=environment(), cwd=ROOT)) as client:
        assert "roi://images/image1" in {str(each.uri) for each in (await client.list_resources()).resources}
        await right_answer(client, str(SCENE))
    assert {region.label for region in Workspace.load(tmp_path / "kept").regions()} >= {"orange umbrella", "yellow square"}


@contextmanager
def mcp_over_http(code: int = 0, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its address; it ends with this code, where nobody ended it before at SIGTERM."""
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "--http", "--port", str(port)], env=environment(**more), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/mcp", timeout=5).close()
                break
            except urllib.error.HTTPError as error:
                error.close()
                break
            except OSError:
                time.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}/mcp"
    finally:
        process.send_signal(signal.SIGTERM)
        found = process.wait(30)
        assert process.stderr is not None
        process.stderr.close()
    assert found == code


async def test_over_http_with_a_key() -> None:
    import httpx2

    with mcp_over_http(ROI_AGENT_API_KEY=KEY) as (_, address):
        keyed = httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=60)
        async with keyed as http, Client(streamable_http_client(address, http_client=http)) as client:
            await right_answer(client, DATA_URL)
            told = await call(client, "open_image", {"image": str(SCENE)})
            assert told.is_error and "no folder that this server may read" in told.content[0].text
        for headers in ({}, {"authorization": "Bearer wrong"}):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(address, b"{}", headers), timeout=30)
            assert caught.value.code == 401
            caught.value.close()


# -- Ctrl-C


def message(method: str, number: int | None = None, **params: Any) -> str:
    """A line of the protocol."""
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params} | ({} if number is None else {"id": number})) + "\n"


GREETING = message(
    "initialize", 1, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "test", "version": "1"}
) + message("notifications/initialized")


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (None, 0)], ids=["ctrl-c", "terminated", "stream closed"]
)
def test_however_a_host_is_left_its_workspace_is_kept(tmp_path: Path, number: signal.Signals | None, code: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(SCENE), "--workspace", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    with process.stdin, process.stdout, process.stderr:
        added = message("tools/call", 2, name="add_region", arguments={"box": [123, 194, 303, 377], "label": "umbrella"})
        process.stdin.write(GREETING + added)
        process.stdin.flush()
        while json.loads(process.stdout.readline()).get("id") != 2:
            pass
        if number is None:
            process.stdin.close()
        else:
            process.send_signal(number)
        assert process.wait(30) == code
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert [region.label for region in Workspace.load(tmp_path).regions()] == ["umbrella"]


@pytest.mark.usefixtures("heard")
async def test_ctrl_c_ends_a_server_that_has_clients() -> None:
    with mcp_over_http(code=130) as (process, address):
        async with Client(streamable_http_client(address)) as client:
            assert (await client.list_tools()).tools
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        assert process.stderr is not None
        about, first, *others = process.stderr.read().splitlines()
        assert about == NANO and first == f"roi-agent serves MCP at {address}"
        assert all('{"request": ' in line for line in others)
