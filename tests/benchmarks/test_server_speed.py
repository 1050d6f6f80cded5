"""What the server adds to the engine: the same question in this process, and over a kept connection to a server."""

import http.client
import json
import statistics
from pathlib import Path

from roi_agent import load_region_model
from roi_agent.model.images import load_image
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

        def post(path: str, body: bytes, kind: str) -> dict[str, object]:
            connection.request("POST", path, body, {"content-type": kind})
            told: dict[str, object] = json.loads(connection.getresponse().read())
            return told

        url = post("/v1/images", SCENE.read_bytes(), "image/png")["url"]
        questions = [{"turns": [{"question": QUESTION}], "regions": [{"box": BOX}]}]
        body = json.dumps({"image": url, "questions": questions}).encode()
        assert "answers" in post("/v1/regions/ask", body, "application/json")
        over_http, in_process = abba(
            lambda: post("/v1/regions/ask", body, "application/json"), lambda: model.ask(image, QUESTION, [BOX]), 100
        )
        connection.close()
    added = 1000 * (statistics.median(over_http) - statistics.median(in_process))
    table.compare("nano: one question, image kept", ("server", "engine"), (over_http, in_process))
    table.note("nano: what the server adds at the median", f"{added:.1f} ms", goal="<= 5 ms")
