"""The page's own gate: no file of the machine, no address and no route that the page does not need."""

import asyncio
import base64
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fastapi
import gradio as gr
import pytest
from fastapi.testclient import TestClient
from starlette.routing import Mount

from roi_agent.tools.models import Models
from roi_agent.ui.actions import SCENES
from tests.ui.stranger import JOIN, Stranger, page

# What a browser fetches of the page: everything else is closed.
OPEN = {
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/config"),
    ("GET", "/theme.css"),
    ("GET", "/static/{path:path}"),
    ("GET", "/assets/{path:path}"),
    ("GET", "/gradio_api/app_id"),
    ("GET", "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}"),
    ("GET", "/gradio_api/file={path_or_url:path}"),
    ("POST", "/gradio_api/queue/join"),
    ("GET", "/gradio_api/queue/data"),
    ("POST", "/gradio_api/upload"),
}
SCENE = SCENES[0].read_bytes()


@pytest.fixture(scope="module")
def application(models: Models) -> fastapi.FastAPI:
    return page(models)


@pytest.fixture(scope="module")
def client(application: fastapi.FastAPI) -> Iterator[TestClient]:
    with TestClient(application, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def stranger(client: TestClient) -> Stranger:
    return Stranger(client)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """The address of another server, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/picture.png", asked
    server.shutdown()
    thread.join()
    server.server_close()


def file(path: str, **more: Any) -> dict[str, Any]:
    """As the page's scripts would name a file that was sent."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def _absolute(folder: Path) -> str:
    (folder / "secret.png").write_bytes(SCENE)
    return str(folder / "secret.png")


def _upwards(folder: Path) -> str:
    _absolute(folder)
    return f"{SCENES[0].parent}/{'../' * 12}{folder}/secret.png"


def _linked(folder: Path) -> str:
    (folder / "link.png").symlink_to(_absolute(folder))
    return str(folder / "link.png")


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo.png")
    return str(folder / "fifo.png")


PATHS = {
    "absolute": _absolute,
    "upwards": _upwards,
    "linked": _linked,
    "fifo": _fifo,
    "environment": lambda _: "/proc/self/environ",
    "zeros": lambda _: "/dev/zero",
    "packaged": lambda _: str(SCENES[0]),
    "file address": lambda folder: f"file://{_absolute(folder)}",
    "data address": lambda _: f"data:image/png;base64,{base64.b64encode(SCENE).decode()}",
    "never sent": lambda _: "0" * 32,
}


@pytest.mark.parametrize("kind", PATHS)
def test_no_function_takes_a_file_that_was_not_sent(stranger: Stranger, tmp_path: Path, kind: str) -> None:
    path = PATHS[kind](tmp_path)
    for dependency in stranger.config["dependencies"]:
        count = len(dependency["inputs"])
        for place in range(count):
            _refused(stranger.join(dependency["id"], [None] * place + [file(path)] * (count - place)), path)
        _refused(stranger.join(dependency["id"], [None] * count, {"index": 0, "value": {"image": file(path)}}), path)


def test_no_address_of_a_stranger_is_fetched(stranger: Stranger, elsewhere: tuple[str, list[str]]) -> None:
    address, asked = elsewhere
    for dependency in stranger.config["dependencies"]:
        count = len(dependency["inputs"])
        for named in (file(address), file("x", url=address), file(SCENES[0].name, url=address)):
            if count:
                _refused(stranger.join(dependency["id"], [named] * count), address)
            _refused(stranger.join(dependency["id"], [None] * count, {"index": 0, "value": named}), address)
    for route in ("file=", "proxy=", "file/"):
        assert stranger.client.get(f"/ui/gradio_api/{route}{address}").status_code == 404
    assert asked == []


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda inner: [inner],
        lambda inner: [[[inner]]],
        lambda inner: {"image": inner, "boxes": [], "orientation": 0},
        lambda inner: {"__type__": "update", "value": inner},
        lambda inner: {"value": {"path": {"path": inner}}},
        lambda inner: {"root": [inner], "data": inner},
        lambda inner: {"kind": "draw", "boxes": [inner]},
        lambda inner: {"path": inner["path"]},
        lambda inner: {"path": None, "url": inner["path"]},
        lambda inner: {"index": [inner, inner], "value": None},
    ],
    ids=["list", "lists", "drawing", "update", "paths", "root", "news", "bare", "url", "index"],
)
def test_a_file_is_found_wherever_it_is_hidden(stranger: Stranger, wrapped: Any) -> None:
    hidden = wrapped(file("/proc/self/environ"))
    for dependency in stranger.config["dependencies"]:
        if dependency["inputs"]:
            _refused(stranger.join(dependency["id"], [hidden] * len(dependency["inputs"])), "/proc")
        _refused(stranger.join(dependency["id"], [None] * len(dependency["inputs"]), hidden), "/proc")


@pytest.mark.parametrize("kind", PATHS)
def test_a_text_is_a_text_and_no_path(stranger: Stranger, tmp_path: Path, kind: str) -> None:
    told = stranger.act("_open_file", PATHS[kind](tmp_path))
    assert "unknown_image" in told and "canvas.webp" not in told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"data": [' + b"1" * 5000 + b"]}",
        b'{"data": [NaN]}',
        {"data": None},
        {"fn_index": "2"},
        {"fn_index": 10_000},
        {"fn_index": True},
        {"fn_index": None},
        {"session_hash": None},
        {"session_hash": "../x"},
        {"session_hash": ["a"]},
        {"trigger_id": "x"},
        {"trigger_id": -1},
        {"batched": True},
        {"event_id": "x"},
        {"oauth_token": "x"},
        {"simple_format": True},
        {"unknown": 1},
        {"data": [None, None]},
        {"data": ["x" * 300_000]},
        {"event_data": {"kind": "draw", "number": 10**40}},
        {"event_data": "x"},
        {"event_data": {"other": 1}},
    ],
    ids=lambda body: str(body)[:30],
)
def test_what_the_pages_scripts_would_not_send_is_refused_in_one_line(stranger: Stranger, body: Any) -> None:
    if isinstance(body, bytes):
        answer = stranger.client.post(JOIN, content=body, headers={"content-type": "application/json"})
    else:
        answer = stranger.join(stranger.functions["_find"], ["umbrella"], **body)
    _refused(answer, "Traceback")


def test_a_file_is_opened_once_and_by_whoever_sent_it(application: fastapi.FastAPI, stranger: Stranger) -> None:
    other = Stranger(TestClient(application, base_url="http://localhost"))
    (handle,) = stranger.upload(SCENE).json()
    assert os.sep not in handle
    assert "unknown_image" in other.act("_open_file", handle)
    for route in ("file=", "file/", "stream/", "proxy="):
        assert other.client.get(f"/ui/gradio_api/{route}{handle}").status_code == 404
    opened = stranger.act("_open_file", handle)
    assert "unknown_image" not in opened and "canvas.webp" in opened
    assert "unknown_image" in stranger.act("_open_file", handle)


def test_another_visitors_session_is_closed(application: fastapi.FastAPI, stranger: Stranger) -> None:
    stranger.act("_visit")
    other = Stranger(TestClient(application, base_url="http://localhost"))
    other.session = stranger.session
    _refused(other.join(other.functions["_visit"], []), stranger.session)
    _refused(other.client.get(f"/ui/gradio_api/queue/data?session_hash={stranger.session}"), stranger.session)


def test_an_idle_page_holds_no_connection_for_which_a_stopping_server_would_wait(client: TestClient) -> None:
    assert client.get("/ui/config").json()["connect_heartbeat"] is False
    assert client.get("/ui/gradio_api/heartbeat/abc").status_code == 404


def test_without_its_cookie_the_page_says_what_to_do(application: fastapi.FastAPI, stranger: Stranger) -> None:
    stranger.client.cookies.clear()
    answer = stranger.join(stranger.functions["_visit"], [])
    _refused(answer, stranger.session)
    assert "cookie" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "multipart/form-data; boundary=a", 400),
        (b"--a\r\nContent-Disposition: form-data; name=files\r\n\r\nx\r\n--a--\r\n", "multipart/form-data; boundary=a", 400),
        (b"--a\r\n\r\nx\r\n--a--\r\n", "multipart/form-data; boundary=a", 400),
        (b"x", "multipart/form-data", 400),
        (b"x", "application/octet-stream", 400),
        (b"x", "", 400),
    ],
)
def test_what_is_no_form_with_a_file_is_not_kept(stranger: Stranger, content: bytes, kind: str, status: int) -> None:
    answer = stranger.client.post("/ui/gradio_api/upload", content=content, headers={"content-type": kind})
    assert answer.status_code == status and answer.text.startswith("request_invalid: ")


def test_names_of_files_that_are_sent_mean_nothing(stranger: Stranger) -> None:
    for name in ("../../evil.png", "/etc/evil.png", "a\x00b.png", "x" * 5000, ""):
        files = {"files": (name or None, SCENE, "image/png")}
        sent = stranger.client.post("/ui/gradio_api/upload", files=files)
        assert sent.status_code in (200, 400) and "evil" not in sent.text


async def _all_routes() -> list[tuple[str, str]]:
    """Method and path of each route of the Gradio that is installed."""
    other = fastapi.FastAPI()
    with gr.Blocks() as blocks:
        gr.Textbox()
    gr.mount_gradio_app(other, blocks, path="/page")
    (mounted,) = [route for route in other.routes if isinstance(route, Mount) and route.path == "/page"]
    found: list[tuple[str, str]] = []
    waiting: list[Any] = [*mounted.routes]
    while waiting:
        route = waiting.pop()
        if inner := getattr(route, "original_router", None):
            waiting += inner.routes
        else:
            found += [(method, route.path) for method in route.methods or ("GET",)]
    return found


def test_every_route_of_gradio_that_the_page_does_not_need_is_closed(stranger: Stranger) -> None:
    routes = asyncio.run(_all_routes())
    assert len(routes) > 60 and set(routes) >= OPEN
    filled = {"{path:path}": "x", "{path_or_url:path}": "/etc/passwd", "{url_path:path}": "http://127.0.0.1:9/"}
    for method, path in routes:
        if (method, path) in OPEN:
            continue
        at = path
        for name, value in filled.items():
            at = at.replace(name, value)
        for each in (at, at + "/", at + "?session_hash=a", at.replace("gradio_api", "gradio_api/../gradio_api")):
            answer = stranger.client.request(method, f"/ui{each}", follow_redirects=False)
            assert answer.status_code == 404, (method, each)
            assert method == "HEAD" or answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        str(SCENES[0]),
        "scene1.png/../scene2.png",
        "../page.py",
        "%2e%2e/page.py",
        "scene9.png",
        "",
        "http://127.0.0.1:9/",
    ],
)
def test_only_the_examples_are_files_of_the_page(stranger: Stranger, path: str) -> None:
    assert stranger.client.get(f"/ui/gradio_api/file={path}").status_code == 404


@pytest.mark.parametrize("path", ["assets/../index.html", "static/..%2f..%2fgradio.js", "assets//etc/passwd", "static/%00"])
def test_only_gradios_own_scripts_are_served_beside_them(stranger: Stranger, path: str) -> None:
    assert stranger.client.get(f"/ui/{path}").status_code == 404


def test_the_examples_are_shown_and_opened_by_their_names(stranger: Stranger) -> None:
    gallery = next(each for each in stranger.config["components"] if each["type"] == "gallery")["props"]["value"]
    for number, scene in enumerate(SCENES):
        image = gallery[number]["image"]
        assert os.sep not in image["path"]
        assert stranger.client.get(image["url"]).content == scene.read_bytes()
        opened = stranger.act("_open_scene", event_data={"index": number, "value": gallery[number]})
        assert "canvas.webp" in opened


def _refused(answer: Any, secret: str) -> None:
    """Before Gradio's code saw it, in one line that does not repeat what was sent."""
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "request_invalid" and answer.json()["detail"]
    assert secret not in answer.text and "\n" not in answer.text
