"""The page as the server shows it: its address, its files, and the key."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from roi_agent.agent.planners import load_planner
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.ui import mount
from tests.commands import Runner
from tests.ui.visit import NAME


def served(models: Models, **given: Any) -> Iterator[TestClient]:
    application = build_app(models, ServerSettings(**given), name="nano")
    mount(application, models, ServerSettings(**given), load_planner("offline"), application.state.roi.lanes.run)
    with TestClient(application, base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def client(models: Models) -> Iterator[TestClient]:
    yield from served(models)


@pytest.fixture(scope="module")
def keyed(models: Models) -> Iterator[TestClient]:
    yield from served(models, api_key="a-long-secret")


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


def test_the_page_is_at_ui_and_the_root_leads_there(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/ui/"
    page = client.get("/ui/")
    assert page.status_code == 200 and "roi-question" in page.text
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert client.get("/v1/models").status_code == 200
    assert client.get("/ui/", headers={"host": "evil.example"}).status_code == 400
    missing = client.get(f"/ui/files/{NAME}/regions.json")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "unknown_image"


def test_the_page_is_no_way_around_the_key(keyed: TestClient) -> None:
    inside = ("/", "/ui/", "/ui/config", "/ui/gradio_api/info", f"/ui/files/{NAME}/regions.json", "/ui/../ui/config")
    for path in inside:
        for headers in ({}, basic("wrong-secret"), {"authorization": "Basic %%%"}, {"authorization": "Basic /w=="}):
            answer = keyed.get(path, headers=headers, follow_redirects=False)
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic realm="), path
    assert keyed.post("/ui/gradio_api/queue/join", json={}).status_code == 401
    assert keyed.post("/ui/gradio_api/upload", files={"files": b"x"}).status_code == 401
    assert keyed.get("/ui/", headers=basic("a-long-secret")).status_code == 200
    assert keyed.get("/ui/", headers={"authorization": "Bearer a-long-secret"}).status_code == 200


def test_what_browsers_send_by_themselves_opens_no_other_route(keyed: TestClient) -> None:
    refused = keyed.get("/v1/models", headers=basic("a-long-secret"))
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert keyed.get("/v1/models", headers={"authorization": "Bearer a-long-secret"}).status_code == 200


def test_a_page_of_another_site_cannot_use_the_page(client: TestClient) -> None:
    for site, status in (("cross-site", 400), ("same-origin", 200)):
        sent = client.post("/ui/gradio_api/upload", files={"files": b"x"}, headers={"sec-fetch-site": site})
        assert sent.status_code == status


def test_a_missing_extra_says_how_to_install_it(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "gradio" in name else name)
    result = run("serve", "--ui")
    assert result.code == 2 and result.err.startswith("missing_extra: this needs gradio, gradio_image_annotation")
    assert "pip install 'roi-agent[ui]'" in result.err
