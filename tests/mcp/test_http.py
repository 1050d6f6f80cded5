"""MCP over HTTP behind the server's gate: the same key, limits, health, metrics and log; and how many images may be held."""

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from roi_agent import Workspace, __version__
from roi_agent.mcp import Workspaces, build_server
from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting
from roi_agent.tools.models import Models
from tests.mcp.hosts import DATA_URL, KEY, call, right_answer
from tests.serving import ROOT, Serving, serving

BEARER = {"authorization": f"Bearer {KEY}"}
SCENE_BYTES = 4 * 512 * 512 + 8 * 512


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The API and MCP in one server."""
    with serving("--mcp", "--allow-folder", str(ROOT / "examples"), "--allow-origin", "https://a.org", key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def alone() -> Iterator[Serving]:
    """MCP and nothing else."""
    with serving("--http", command="mcp", key=KEY) as running:
        yield running


@pytest.fixture(params=["both", "alone"])
def address(request: pytest.FixtureRequest) -> str:
    running: Serving = request.getfixturevalue(request.param)
    return running.address.removesuffix("/mcp")


def answer_of(address: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    given = {"content-type": "application/json", "accept": "application/json, text/event-stream", **BEARER, **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, given), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@asynccontextmanager
async def mcp_at(address: str, **headers: str) -> AsyncIterator[Client]:
    keyed = httpx2.AsyncClient(headers=BEARER | headers, timeout=60)
    async with keyed as http, Client(streamable_http_client(f"{address}/mcp", http_client=http)) as client:
        yield client


async def test_a_host_gets_right_answers_over_http(address: str) -> None:
    async with mcp_at(address) as client:
        await right_answer(client, DATA_URL)
        told = await call(client, "open_image", {"image": str(ROOT / "pyproject.toml")})
        assert told.is_error and "not in a folder that this server may read" in told.content[0].text


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "told"),
    [
        ("/mcp", b"{}", {"authorization": ""}, 401, "unauthorised"),
        ("/mcp", b"{}", {"authorization": f"bearer {KEY}"}, 400, "jsonrpc"),
        ("/mcp", b"x" * ((32 << 20) + 1), {}, 413, "request_too_large"),
        ("/mcp", b"[" + b"0," * 100_001 + b"0]", {}, 413, "100000 values"),
        ("/mcp", b'{"method": "\\ud83d"}', {}, 400, "not valid JSON"),
        ("/mcp", b"{}", {"a": "x" * 70_000}, 431, "request_too_large"),
        ("/mcp", b"{}", {"host": "evil.example.org"}, 400, "Invalid host"),
        ("/mcp", b"{}", {"origin": "https://evil.example.org"}, 403, "Origin"),
        ("/healthz", None, {"authorization": ""}, 200, "ok"),
        ("/readyz", None, {"authorization": ""}, 200, "ready"),
        ("/metrics", None, {"authorization": ""}, 401, "unauthorised"),
        ("/metrics", None, {}, 200, "roi_requests_total"),
        ("/openapi.json", None, {}, 200, "bearer"),
    ],
)
def test_mcp_stands_behind_the_gate(
    address: str, path: str, body: bytes | None, headers: dict[str, str], status: int, told: str
) -> None:
    found, text = answer_of(address + path, body, **headers)
    assert found == status and told in text, text[:200]


async def test_a_page_that_is_let_in_may_use_mcp(both: Serving) -> None:
    async with mcp_at(both.address, origin="https://a.org") as client:
        assert (await client.list_tools()).tools


async def test_the_server_counts_and_notes_what_mcp_does(both: Serving) -> None:
    assert 'route="/mcp",status="200"' in answer_of(f"{both.address}/metrics")[1]
    assert any('"route": "/mcp"' in line for line in both.lines) and KEY not in "".join(both.lines)


def test_mcp_alone_serves_no_other_route(alone: Serving) -> None:
    assert answer_of(f"{alone.address.removesuffix('/mcp')}/v1/models")[0] == 404


async def test_an_image_that_was_uploaded_is_opened_by_its_address(both: Serving) -> None:
    picture = (ROOT / "examples/scene1.png").read_bytes()
    status, told = answer_of(f"{both.address}/v1/images", picture, **{"content-type": "image/png"})
    async with mcp_at(both.address) as client:
        opened = await call(client, "open_image", {"image": json.loads(told)["url"]})
        assert status == 200 and opened.structured_content["data"]["width"] == 512
        gone = await call(client, "open_image", {"image": "roi://images/img-0"})
        assert gone.is_error and gone.content[0].text.startswith("unknown_image")


# -- files


def forms(path: Path) -> list[str]:
    """All ways in which hosts write a path."""
    return [str(path), path.as_uri(), f"file://localhost{path.as_posix()}", f"FILE:{path.as_posix()}"]


async def test_a_path_may_be_a_file_url_or_begin_with_a_tilde(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home of ä"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "a scene.png").write_bytes((ROOT / "examples/scene1.png").read_bytes())
    for workspaces in (Workspaces(models, only=Workspace()), Workspaces(models, folders=[home])):
        async with Client(build_server(workspaces, version=__version__)) as client:
            for image in (*forms(home / "a scene.png"), "~/a scene.png"):
                told = await call(client, "open_image", {"image": image})
                assert not told.is_error, told.content


def test_no_form_of_a_path_leaves_the_allowed_folders(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "outside"))
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"x")
    workspaces = Workspaces(models, folders=[inside])
    escapes = [f"file://{inside}{dots}outside/secret.png" for dots in ("/../", "/%2e%2e/", "%2f..%2f", "/%2E./")]
    elsewhere = ["file://evil.example.org/x.png", "file://~/secret.png", "file:", "file://", "file:///%00", "~nobody/x.png"]
    for source in (*forms(outside / "secret.png"), "~/secret.png", f"{inside}/~/../../outside/secret.png", *escapes, *elsewhere):
        with pytest.raises(ImageUnreadable):
            workspaces.check_source(source)


# -- how much is held


def picture(side: int, colour: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def opened(client: Client, image: str, **where: str) -> Any:
    return await call(client, "open_image", {"image": image, **where})


async def test_workspaces_make_room_by_the_bytes_of_their_images(models: Models) -> None:
    workspaces = Workspaces(models, folders=[], image_bytes=3 * SCENE_BYTES)
    async with Client(build_server(workspaces, version=__version__)) as client:
        names = [(await opened(client, DATA_URL)).structured_content["data"]["workspace"] for _ in range(3)]
        await call(client, "list_regions", {"workspace": names[0]})
        names.append((await opened(client, DATA_URL)).structured_content["data"]["workspace"])
        told = [await call(client, "list_regions", {"workspace": name}) for name in names]
        assert [each.is_error for each in told] == [False, True, False, False]  # the one used longest ago
        assert workspaces.image_bytes <= 3 * SCENE_BYTES


async def test_one_workspace_holds_no_more_than_the_server_does(models: Models) -> None:
    workspaces = Workspaces(models, folders=[], image_bytes=3 * SCENE_BYTES)
    async with Client(build_server(workspaces, version=__version__)) as client:
        where = {"workspace": (await opened(client, DATA_URL)).structured_content["data"]["workspace"]}
        told = [await opened(client, picture(512, colour), **where) for colour in ("red", "green", "blue")]
        assert [each.is_error for each in told] == [False, False, True]
        assert told[-1].content[0].text.startswith(ImageTooLarge.code) and "another workspace" in told[-1].content[0].text
        await call(client, "add_region", {"box": [0, 0, 500, 500], "image": "image1", **where})
        zoomed = await call(client, "zoom_in", {"region": "region1", **where})
        assert zoomed.is_error and zoomed.content[0].text.startswith(ImageTooLarge.code)
        assert not (await call(client, "list_regions", where)).is_error
        large = await opened(client, picture(1100, "red"))
        assert large.is_error and large.content[0].text.startswith(ImageTooLarge.code)


def test_a_workspace_that_was_forgotten_is_reported(models: Models) -> None:
    workspaces = Workspaces(models, folders=[], image_bytes=SCENE_BYTES)
    name, toolbox = workspaces.open()
    toolbox.workspace.add_image(ROOT / "examples/scene1.png")
    workspaces.make_room()
    assert len(workspaces) == 1  # the newest stays
    workspaces.open()[1].workspace.add_image(ROOT / "examples/scene2.png")
    workspaces.make_room()
    with pytest.raises(InvalidSetting, match="expired"):
        workspaces.get(name)
