"""What clients of a server send, and how they read what comes."""

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest

from tests.serving import ROOT, Serving

SCENE = ROOT / "examples" / "scene1.png"
UMBRELLA, FLAG, SQUARE = [123, 194, 303, 377], [141, 9, 246, 134], [315, 145, 504, 334]
DATA_URL = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
ASK = {"questions": [{"turns": [{"question": "What is <region1>?"}], "regions": [{"box": UMBRELLA}]}]}


def send(served: Serving, path: str, body: Any = None, *, kind: str = "application/json", **headers: str) -> Any:
    """As curl does."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(served.address + path, data, {"content-type": kind, **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
        return json.loads(text) if "json" in answer.headers["content-type"] else text


def refused(served: Serving, path: str, body: Any = None, **options: Any) -> tuple[int, str, Any]:
    """Status, code, and the whole error."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        send(served, path, body, **options)
    error = json.loads(caught.value.read())["error"]
    caught.value.close()
    return caught.value.code, error["code"], error


def messages(question: str, image: str = DATA_URL) -> list[Any]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": question}]}]


def complete(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(**options)


def roi(*boxes: list[int]) -> dict[str, Any]:
    return {"roi": {"regions": [{"name": f"region{n}", "box": box} for n, box in enumerate(boxes, 1)]}}
