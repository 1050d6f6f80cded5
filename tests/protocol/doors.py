"""Every door through which a question reaches the nano model, behind one signature: question, boxes -> text and notes."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from roi_agent import Workspace
from roi_agent.loading import build_toolbox
from roi_agent.model.errors import all_errors
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.tools.toolbox import Toolbox
from tests.commands import Runner

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
DATA_URL = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
OPTIONS = ["a large orange umbrella", "a medium brown cloud"]
Said = tuple[str, list[str]]
Door = Callable[[str, list[list[int]]], Said]


def toolbox(model: RegionModel, boxes: list[list[int]]) -> Toolbox:
    workspace = Workspace()
    workspace.add_image(SCENE)
    workspace.add_regions(boxes)
    return build_toolbox(workspace, region_model=model)


class Doors:
    """Each method is a door; an error is raised as the class of its code."""

    def __init__(self, nano: RegionModel, client: TestClient, run: Runner) -> None:
        self._nano, self._client, self._run = nano, client, run

    def ask(self, question: str, boxes: list[list[int]]) -> Said:
        answer = self._nano.ask(SCENE, question, boxes)
        return answer.text, list(answer.notes)

    def stream(self, question: str, boxes: list[list[int]]) -> Said:
        answer = self._nano.stream(SCENE, question, boxes).answer()
        return answer.text, list(answer.notes)

    def chat(self, question: str, boxes: list[list[int]]) -> Said:
        answer = self._nano.chat(SCENE, boxes).ask(question)
        return answer.text, list(answer.notes)

    def choose(self, question: str, boxes: list[list[int]]) -> Said:
        choice = self._nano.choose(SCENE, question, OPTIONS, boxes)
        return choice.text, list(choice.notes)

    def tool(self, question: str, boxes: list[list[int]], name: str = "ask_about_regions", **more: Any) -> Said:
        reply = toolbox(self._nano, boxes).call(name, {"question": question, **more})
        if reply.error:
            raise all_errors()[reply.error](reply.text)
        return reply.data["text"], list(reply.data["notes"])

    def choosing_tool(self, question: str, boxes: list[list[int]]) -> Said:
        return self.tool(question, boxes, "choose_answer", options=OPTIONS)

    def command(self, question: str, boxes: list[list[int]]) -> Said:
        given = [part for box in boxes for part in ("--box", ",".join(map(str, box)))]
        done = self._run("ask", str(SCENE), question, *given, "--json")
        if done.code:
            raise all_errors()[done.err.split(":")[0]](done.err)
        record = json.loads(done.out)
        return record["text"], record["notes"]

    def http_chat(self, question: str, boxes: list[list[int]]) -> Said:
        choice = self._post("/v1/chat/completions", _chat(question, boxes)).json()["choices"][0]
        return choice["message"]["content"], choice["roi"]["notes"]

    def http_stream(self, question: str, boxes: list[list[int]]) -> Said:
        text = self._post("/v1/chat/completions", _chat(question, boxes) | {"stream": True}).text
        chunks = [json.loads(line[6:])["choices"][0] for line in text.split("\n\n") if line.startswith("data: {")]
        return "".join(each["delta"].get("content") or "" for each in chunks), chunks[-1]["roi"]["notes"]

    def http_batch(self, question: str, boxes: list[list[int]]) -> Said:
        asked = {"turns": [{"question": question}], "regions": [{"box": box} for box in boxes]}
        answer = self._post("/v1/regions/ask", {"image": DATA_URL, "questions": [asked]}).json()["answers"][0]
        return answer["text"], answer["notes"]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        response = self._client.post(path, json=body)
        if response.status_code != 200:
            raise all_errors()[response.json()["error"]["code"]](response.text)
        return response


NAMES = [name for name in vars(Doors) if not name.startswith("_")]


def _chat(question: str, boxes: list[list[int]]) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": DATA_URL}}, {"type": "text", "text": question}]
    roi = {"regions": [{"box": box} for box in boxes]}
    return {"model": "nano", "messages": [{"role": "user", "content": content}], "roi": roi}
