"""What the server adds to the engine: the same question in this process, and over a kept connection to a server."""

import http.client
import json
from pathlib import Path
from typing import Any

from roi_agent import load_region_model
from roi_agent.model.images.loading import load_image
from tests.benchmarks.conftest import Table, abba
from tests.serving import serving

SCENE = Path(__file__).parent.parent.parent / "examples" / "scene1.png"
BOX = [123, 194, 303, 377]
QUESTION = "What colour is <region1>?"


def test_the_server_beside_the_bare_engine(table: Table) -> None:
    model, image = load_region_model("nano"), load_image(SCENE)
    with serving() as served:
        host, _, port = served.address.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port))

        def post(path: str, body: bytes, kind: str) -> dict[str, Any]:
            connection.request("POST", path, body, {"content-type": kind})
            told: dict[str, Any] = json.loads(connection.getresponse().read())
            return told

        url = post("/v1/images", SCENE.read_bytes(), "image/png")["url"]
        questions = [{"turns": [{"question": QUESTION}], "regions": [{"box": BOX}]}]
        body = json.dumps({"image": url, "questions": questions}).encode()
        assert "answers" in post("/v1/regions/ask", body, "application/json")
        engine_s: list[float] = []

        def over_http() -> None:
            (answer,) = post("/v1/regions/ask", body, "application/json")["answers"]
            engine_s.append(answer["timing"]["total_s"])

        times = abba(over_http, lambda: model.ask(image, QUESTION, [BOX]), 100)
        connection.close()
    added = [whole - inside for whole, inside in zip(times[0], engine_s[1:], strict=True)]
    table.compare("nano: one question, image kept", ("over HTTP", "in this process"), times)
    table.time("nano: what the server adds to its engine", added, "<= 5 ms")
