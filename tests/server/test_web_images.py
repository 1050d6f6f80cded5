"""Images by web address: from allowed hosts alone, at public addresses alone, within limits of time and size."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.testclient import TestClient

from roi_agent import Workspace, build_agent, load_region_model
from roi_agent.loading import load_models
from roi_agent.mcp import Workspaces
from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting, QueueFull, RoiAgentError
from roi_agent.model.images.loading import load_image
from roi_agent.model.images.web import IMAGE_HOSTS, WebImages, _is_public
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.notebook import gallery, pick
from roi_agent.server import build_app
from roi_agent.server.images import ImageStore
from roi_agent.settings import ServerSettings
from roi_agent.tools.exchange import add_coco
from tests.commands import Runner

BOX = [10, 20, 110, 140]
COCO = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]}]}
SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"


class Handler(BaseHTTPRequestHandler):
    """A picture, and whatever a host may do instead of sending it."""

    hosts: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.hosts.append(self.headers["host"])
        path, _, to = self.path.partition("?")
        {"/scene1.png": self.picture, "/slow": self.slow, "/endless": self.endless, "/to": lambda: self.lead(to)}.get(
            path, lambda: self.send_error(404)
        )()

    def picture(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(SCENE.read_bytes())

    def lead(self, to: str) -> None:
        self.send_response(302)
        self.send_header("location", to)
        self.end_headers()

    def slow(self) -> None:
        """A byte at a time: each within any limit for one."""
        self.send_response(200)
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b"x")
            time.sleep(0.02)

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(65536))

    def handle(self) -> None:
        with suppress(OSError):  # the other side had enough
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Where pictures lie: 127.0.0.1:PORT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def refused(host: str, url: str, **limits: Any) -> RoiAgentError:
    return refused_by(WebImages([host], **limits), url)


def refused_by(web: WebImages, url: str) -> RoiAgentError:
    with pytest.raises(RoiAgentError) as error:
        web.fetch(url)
    return error.value


def test_an_image_of_an_allowed_host_is_fetched_and_kept_like_an_uploaded_one(host: str) -> None:
    store = ImageStore(2**30, 60.0, WebImages([host]))
    assert store.add(f"http://{host}/scene1.png") == store.add(SCENE.read_bytes())
    assert store.get(f"HTTP://{host}/scene1.png") and len(store) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "https://example.org/a.png", "http://u@{}/a", "http://[::1]/", "http://"]
)
def test_without_a_place_on_the_list_nothing_is_fetched(host: str, url: str) -> None:
    told, none = refused(host, url.format(host)), pytest.raises(ImageUnreadable, match="by its web address")
    assert told.code == "image_unreadable" and "not fetched from" in told.problem
    with none:
        WebImages().fetch(url)


def test_every_redirect_is_checked_and_their_number_limited(host: str) -> None:
    assert WebImages([host]).fetch(f"http://{host}/to?/scene1.png") == SCENE.read_bytes()
    for elsewhere in ("http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "//[::1]/x"):
        assert "not fetched from" in refused(host, f"http://{host}/to?{elsewhere}").problem
    assert "more than 3 times" in refused(host, f"http://{host}/to?/to?/to?/to?/scene1.png").problem


def test_an_allowed_name_at_an_address_that_is_not_public_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up once, and what was found is what is connected to."""
    port, looked_up = int(host.partition(":")[2]), []

    def look_up(name: str, *args: Any, **kwargs: Any) -> Any:
        looked_up.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    told = refused(f"pictures.example:{port}", f"http://pictures.example:{port}/scene1.png")
    assert "not public" in told.problem
    monkeypatch.setattr("roi_agent.model.images.web._is_public", lambda address: True)
    looked_up.clear()
    web = WebImages([f"pictures.example:{port}"])
    assert web.fetch(f"http://pictures.example:{port}/scene1.png") == SCENE.read_bytes()
    assert looked_up.count("pictures.example") == 1 and Handler.hosts[-1] == f"pictures.example:{port}"


_INSIDE = """127.0.0.1 10.0.0.5 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 ::1 :: fe80::1%eth0 fd00::1 fec0::1 ff02::1
::ffff:10.0.0.5 ::ffff:7f00:1 2002:7f00:1:: 64:ff9b::a00:5 2001:0:4136:e378:8000:63bf:3fff:fdd2"""


@pytest.mark.parametrize("address", _INSIDE.split())
def test_addresses_that_only_a_machine_inside_can_reach_are_not_public(address: str) -> None:
    assert not _is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_anybody_can_reach_are_public(address: str) -> None:
    assert _is_public(address)


def test_time_and_size_end_an_answer(host: str) -> None:
    start = time.monotonic()
    assert "within 0.3 seconds" in refused(host, f"http://{host}/slow", seconds=0.3).problem
    assert time.monotonic() - start < 3
    assert isinstance(refused(host, f"http://{host}/endless", max_bytes=2**20), ImageTooLarge)


def test_a_host_that_fails_is_named_without_what_it_said(host: str) -> None:
    assert refused(host, f"http://{host}/none").problem == "the image's host answered with status 404"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{closed.getsockname()[1]}"
        assert "cannot be reached" in refused(gone, f"http://{gone}/").problem
    assert "cannot be reached" in refused("nowhere.invalid", "http://nowhere.invalid/").problem


@pytest.mark.parametrize("name", ["a" * 70, "a b", "\0", "[::1", "\ud800", "host:99999"])
def test_a_name_that_no_host_can_have_is_refused(name: str) -> None:
    assert "cannot be reached" in refused_by(WebImages(any_public=True), f"http://{name}/a.png").problem


def test_slow_hosts_do_not_take_every_thread(host: str) -> None:
    web = WebImages([host], seconds=1.0)
    waiting = [threading.Thread(target=refused_by, args=(web, f"http://{host}/slow")) for _ in range(4)]
    for each in waiting:
        each.start()
    time.sleep(0.3)
    with pytest.raises(QueueFull):
        web.fetch(f"http://{host}/scene1.png")
    for each in waiting:
        each.join()
    assert web.fetch(f"http://{host}/scene1.png")


@pytest.mark.parametrize(
    "entry", ["", "*", "*.example.org", "http://example.org", "example.org/a", "a b", "u@h", "a:99999", "a:x"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(InvalidSetting, match=r"give a host, as in example\.org"):
        WebImages([entry])


def test_an_address_that_a_user_types_is_fetched_from_public_hosts_and_from_those_of_the_setting(
    host: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://{host}/scene1.png"
    asked = ("ask", address, "What is <region1>?", "--box", "10,20,110,140", "--max-new-tokens", "4")
    monkeypatch.delenv(IMAGE_HOSTS, raising=False)
    with pytest.raises(ImageUnreadable, match="not public"):
        load_image(address)
    refused = run(*asked)
    assert refused.code == 2 and "not public" in refused.err and IMAGE_HOSTS in refused.err
    monkeypatch.setenv(IMAGE_HOSTS, f"example.org, {host}")
    assert load_image(address).digest() == load_image(SCENE).digest()
    assert load_image(address).source == "web address"
    assert run(*asked).out == run("ask", str(SCENE), *asked[2:]).out
    assert run("detect", address, "flag .").code == 0
    result = build_agent(planner="offline").run(address, "How many flags are there?")
    assert result.status == "answered"


def test_an_address_that_a_user_types_is_under_the_rules_of_the_server(host: str) -> None:
    web = WebImages(any_public=True)
    for url in (f"http://{host}/", "http://169.254.169.254/latest/meta-data", "http://[::1]/a.png", "http://localhost/a.png"):
        assert "not public" in refused_by(web, url).problem
    assert "not fetched from" in refused_by(web, "http://user:secret@example.org/a.png").problem


@cache
def _nano() -> RegionModel:
    model = load_region_model("nano")
    assert model is not None
    return model


DOORS: dict[str, Callable[[str], object]] = {
    "load_image": lambda address: load_image(address).size_wh,
    "Workspace.add_image": lambda address: Workspace().add_image(address).size_wh,
    "ask": lambda address: _nano().ask(address, "What is <region1>?", [BOX], max_new_tokens=4).text,
    "chat": lambda address: _nano().chat(address, [BOX]).ask("What is <region1>?").text,
    "choose": lambda address: _nano().choose(address, "What is <region1>?", ["a flag", "a ball"], [BOX]).text,
    "ask_each": lambda address: [each.text for each in _nano().ask_each(address, "What is <region>?", [BOX])],
    "agent.run": lambda address: build_agent(planner="offline").run(address, "How many flags are there?").answer,
    "pick": lambda address: pick(address, [BOX]).boxes,
    "gallery": lambda address: gallery(address, _nano().ask_each(address, "What is <region>?", [BOX])),
    "add_coco": lambda address: len(add_coco(Workspace(), COCO, {"a.png": address})),
}


@pytest.mark.filterwarnings("ignore:Traits should be given as instances:DeprecationWarning")  # the notebook widget's own
@pytest.mark.parametrize("door", DOORS)
def test_a_web_address_stands_for_an_image_in_python(host: str, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IMAGE_HOSTS, raising=False)
    with pytest.raises(ImageUnreadable, match=f"not public.*{IMAGE_HOSTS}"):
        DOORS[door](f"http://{host}/scene1.png")
    monkeypatch.setenv(IMAGE_HOSTS, host)
    found, known = DOORS[door](f"HTTP://{host}/scene1.png"), DOORS[door](str(SCENE))
    assert found == known or door == "gallery"


def test_limits_of_an_image_hold_for_one_from_the_web(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IMAGE_HOSTS, host)
    with pytest.raises(ImageTooLarge, match="pixels, over the limit of 1000"):
        load_image(f"http://{host}/scene1.png", max_pixels=1000)
    with pytest.raises(ImageTooLarge, match="more than 1000 bytes"):
        load_image(f"http://{host}/scene1.png", max_bytes=1000)


def test_where_strangers_name_images_the_setting_of_a_user_opens_no_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers fetch from the hosts of their own list, MCP over stdio from none."""
    monkeypatch.setenv(IMAGE_HOSTS, host)
    Handler.hosts.clear()
    address, workspaces = f"http://{host}/scene1.png", Workspaces(load_models(), only=Workspace())
    with TestClient(build_app(load_models(), ServerSettings(), name="nano"), base_url="http://127.0.0.1") as client:
        region = {"name": "region1", "box": BOX}
        asked: dict[str, Any] = {"questions": [{"turns": [{"question": "What is <region1>?"}], "regions": [region]}]}
        for route, body in {"/v1/detect": {"phrases": "flag ."}, "/v1/regions/ask": asked}.items():
            answer = client.post(route, json={"image": address, **body})
            assert answer.status_code == 400 and answer.json()["error"]["code"] == "image_unreadable"
    for source in (address, f"HTTPS://{host}/scene1.png", "http://example.org/a.png"):
        with pytest.raises(ImageUnreadable, match="web address"):
            workspaces.load(source)
    assert not Handler.hosts


def test_an_address_is_fetched_within_a_running_loop_too(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IMAGE_HOSTS, host)

    async def notebook() -> str:
        return load_image(f"http://{host}/scene1.png").digest()

    assert asyncio.run(notebook()) == load_image(SCENE).digest()


def test_the_server_fetches_from_its_hosts_alone(host: str) -> None:
    settings = ServerSettings(image_hosts=(host,))
    with TestClient(build_app(load_models(), settings, name="nano"), base_url="http://127.0.0.1") as client:
        body = {"image": f"http://{host}/scene1.png", "phrases": "flag ."}
        assert client.post("/v1/detect", json=body).json()["regions"]
        elsewhere = client.post("/v1/detect", json={**body, "image": "http://example.org/a.png"})
        assert elsewhere.status_code == 400 and elsewhere.json()["error"]["code"] == "image_unreadable"
