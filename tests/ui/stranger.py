"""Somebody who speaks to the page's routes without a browser, well-meaning or not."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from langchain_core.language_models import BaseChatModel

from roi_agent.agent.planners import load_planner
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.ui import mount
from roi_agent.ui.visitors import COOKIE

JOIN = "/ui/gradio_api/queue/join"


def page(models: Models, planner: BaseChatModel | None = None, **given: Any) -> FastAPI:
    """A server with the page.  planner: of its agent, by default the offline one.  given: of its settings."""
    settings = ServerSettings(**given)
    application = build_app(models, settings, name="nano")
    lanes = application.state.roi.lanes
    mount(application, models, settings, planner or load_planner("offline"), lanes.run, lanes.call)
    return application


@contextmanager
def served(models: Models, **given: Any) -> Iterator[TestClient]:
    with TestClient(page(models, **given), base_url="http://localhost") as client:
        yield client


class Stranger:
    """A browser's cookies and session, and the requests that the page's scripts send.  functions: numbers by name."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.session = client, secrets.token_hex(6)
        self.config: dict[str, Any] = client.get("/ui/config").json()
        self.name = client.cookies[COOKIE]
        self.functions = {each["api_name"]: each["id"] for each in self.config["dependencies"] if each["backend_fn"]}

    def upload(self, data: bytes) -> Response:
        return self.client.post("/ui/gradio_api/upload", files={"files": ("a.png", data)})

    def join(self, function: int, data: Any, event_data: Any = None, /, **more: Any) -> Response:
        body = {"data": data, "event_data": event_data, "fn_index": function, "trigger_id": None, "session_hash": self.session}
        return self.client.post(JOIN, json={**body, **more})

    def act(self, name: str, *data: Any, event_data: Any = None) -> str:
        """What the page shows after an action, as JSON text."""
        joined = self.join(self.functions[name], list(data), event_data)
        assert joined.status_code == 200, joined.text
        told = self.client.get("/ui/gradio_api/queue/data", params={"session_hash": self.session}).text
        messages = [json.loads(line.removeprefix("data: ")) for line in told.split("\n\n") if line]
        done = [each["output"] for each in messages if each["msg"] == "process_completed"]
        return json.dumps(done[-1])
