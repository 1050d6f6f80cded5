"""How clients come in: spellings of the key, browsers of other origins, the description of the routes, streams behind proxies."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from roi_agent.model.errors import InvalidSetting
from roi_agent.settings import ServerSettings
from tests.server.test_limits import KEY, SCENE, app_of, chat, client_of, uploaded

PAGE = "https://page.example.org"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """Of a server with a key, for which one page is let in."""
    with client_of(app_of(api_key=KEY, allow_origins=(PAGE,)), authorization=f"Bearer {KEY}") as made:
        yield made


# -- the key


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer {KEY}", 200),
        (f"BEARER   {KEY}", 200),
        (f"Bearer {KEY} ", 200),
        (f"Basic {base64.b64encode(f'x:{KEY}'.encode()).decode()}", 401),  # for the page only
        (f"Bearer{KEY}", 401),
        (f"Token {KEY}", 401),
        ("Bearer", 401),
        ("Bearer \xff", 401),
        ("", 401),
    ],
)
def test_the_key_counts_however_its_scheme_is_written(client: TestClient, given: str, status: int) -> None:
    assert client.get("/v1/models", headers={b"authorization": given.encode("latin-1")}).status_code == status


# -- browsers of other origins


def preflight(client: TestClient, origin: str, path: str = "/v1/chat/completions") -> Any:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    return client.options(path, headers={"origin": origin, "authorization": "", **asked})


def test_a_preflight_passes_without_the_key_for_an_origin_that_is_let_in(client: TestClient) -> None:
    told = preflight(client, PAGE)
    assert told.status_code == 200 and told.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in told.headers["access-control-allow-headers"].lower()
    assert "POST" in told.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in told.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "http://page.example.org", f"{PAGE}:8443", f"{PAGE}.evil.org", "null"]
)
def test_no_other_origin_is_let_in(client: TestClient, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(client, origin).headers
    assert preflight(client, origin).status_code in (400, 401)
    assert "access-control-allow-origin" not in client.get("/v1/models", headers={"origin": origin}).headers


def test_no_origin_is_let_in_unless_one_is_named() -> None:
    with client_of(app_of(api_key=KEY)) as client:
        told = preflight(client, PAGE)
        assert told.status_code == 401 and "access-control-allow-origin" not in told.headers


def test_a_page_reads_answers_and_errors_alike(client: TestClient) -> None:
    for key, status in ((KEY, 200), ("wrong", 401)):
        told = client.get("/v1/models", headers={"origin": PAGE, "authorization": f"Bearer {key}"})
        assert (told.status_code, told.headers["access-control-allow-origin"]) == (status, PAGE)
        assert "x-request-id" in told.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "page.example.org", f"{PAGE}/", f"{PAGE}/app", "https://", "ftp://x.org", "https://a b", "https://x:y", ""],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(InvalidSetting, match="as browsers do"):
        ServerSettings(allow_origins=(origin,))


# -- what is told about the routes


def test_the_description_is_open_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs", headers={"authorization": ""})
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|<script|@import|url\(", page.text)
    described = client.get("/openapi.json", headers={"authorization": ""}).json()
    assert all(path in page.text for path in described["paths"]) and "/openapi.json" in page.text
    assert client.get("/redoc").status_code == 404


@pytest.mark.parametrize("key", [None, KEY])
def test_the_description_says_how_the_key_is_sent(key: str | None) -> None:
    described = app_of(api_key=key).openapi()
    ((name, scheme),) = described["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in described["paths"].items():
        for method in methods.values():
            wanted: list[Any] = [] if path in ("/healthz", "/readyz") else [{name: []}] if key else [{name: []}, {}]
            assert method.get("security", []) == wanted, path


# -- streams


def test_a_stream_is_not_held_back_by_proxies(client: TestClient) -> None:
    streamed = client.post("/v1/chat/completions", json=chat(uploaded(client), stream=True))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert (streamed.headers["x-accel-buffering"], streamed.headers["cache-control"]) == ("no", "no-cache")
    assert "x-accel-buffering" not in client.get("/v1/models").headers


# -- uploads


@pytest.mark.parametrize(
    ("given", "status", "problem"),
    [
        ({"files": {"file": ("x.png", SCENE.read_bytes(), "image/png")}}, 200, ""),
        ({"files": {"picture": ("x", SCENE.read_bytes())}, "data": {"note": "n"}}, 200, ""),
        ({"files": [("a", ("a.png", SCENE.read_bytes())), ("b", ("b.png", SCENE.read_bytes()))]}, 400, "Too many files"),
        ({"files": {"file": ("x.png", b"")}}, 400, "is empty"),
        ({"files": {"file": ("x.png", b"no image")}}, 400, "not in a supported image format"),
        ({"files": {"file": (None, "text")}}, 400, "-F file=@FILE"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"x", "headers": {"content-type": "application/x-www-form-urlencoded"}}, 400, "--data-binary @FILE"),
        ({"content": SCENE.read_bytes(), "headers": {"content-type": "application/x-www-form-urlencoded"}}, 200, ""),
        ({"content": SCENE.read_bytes()}, 200, ""),
    ],
)
def test_an_image_is_taken_however_curl_sends_it(client: TestClient, given: dict[str, Any], status: int, problem: str) -> None:
    told = client.post("/v1/images", **given)
    assert told.status_code == status and problem in told.text, told.text
    assert status == 400 or told.json()["width"] == 512
