"""Bodies that are JSON: how much of a bad one is read, texts that cannot be written, and which field an error names."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from roi_agent.wire.chat import ChatRequest
from roi_agent.wire.finding import CandidatesRequest, DetectRequest, MasksRequest, SegmentRequest
from roi_agent.wire.regions import AskRequest, ImageUpload, Wire
from tests.server.test_limits import app_of, chat, client_of, uploaded

MANY = {f"k{n}": n for n in range(5000)}
WRONG: list[Any] = [None] * 5000


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(app_of()) as made:
        yield made


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    return uploaded(client)


# -- bounds


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ChatRequest, MANY),
        (ChatRequest, {**chat("x"), "roi": MANY}),
        (ChatRequest, {**chat("x"), "roi": {"regions": [MANY]}}),
        (ChatRequest, {**chat("x"), "roi": {"regions": [{"box": WRONG}]}}),
        (ChatRequest, {**chat("x"), "roi": {"regions": [{"mask": {"size": [1, 1], "counts": WRONG}}]}}),
        (ChatRequest, {**chat("x"), "messages": WRONG[:100]}),
        (ChatRequest, {**chat("x"), "messages": [{"role": "user", "content": [MANY]}]}),
        (ChatRequest, {**chat("x"), "messages": [{"role": "user", "content": MANY}]}),
        (ChatRequest, {**chat("x"), "messages": [{"role": "user", "content": WRONG}]}),
        (ChatRequest, {**chat("x"), "stop": WRONG}),
        (ChatRequest, {**chat("x"), "response_format": MANY}),
        (ChatRequest, {**chat("x"), "logit_bias": MANY}),
        (ChatRequest, {**chat("x"), "tools": WRONG}),
        (AskRequest, {"image": "x", "questions": WRONG}),
        (AskRequest, {"image": "x", "questions": [{"turns": WRONG[:60], "regions": WRONG[:100], "options": WRONG[:60]}]}),
        (AskRequest, {"image": "x", "questions": [{"turns": [{"question": "x"}]}], "decoding": {"stop": WRONG, **MANY}}),
        (DetectRequest, {"image": "x", "phrases": WRONG}),
        (CandidatesRequest, {"image": "x", "phrases": WRONG}),
        (SegmentRequest, {"image": "x", "regions": WRONG[:100], "points": WRONG[:100]}),
        (SegmentRequest, {"image": "x", "points": [WRONG]}),
        (MasksRequest, {"image": "x", "prompts": WRONG[:4000]}),
        (MasksRequest, {"image": "x", "prompts": [{"points": WRONG[:100], "box": WRONG, "mask": MANY}]}),
        (ImageUpload, MANY),
    ],
)
def test_of_a_body_that_is_wrong_in_many_places_a_few_are_named(kind: type[Wire], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate_json(json.dumps(body))
    assert caught.value.error_count() <= 20


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b'{"model": "nano", "metadata": [' + b"0," * 1_000_001 + b"0]}"),
        ("/v1/images", b"{" + b",".join(b'"%d":0' % n for n in range(500_001)) + b"}"),
        ("/v1/regions/ask", b'{"questions": ' + b"[{}," * 1_000_001),
    ],
)
def test_a_body_of_more_values_than_any_request_has_is_not_read(client: TestClient, path: str, body: bytes) -> None:
    told = client.post(path, content=body, headers={"content-type": "application/json"})
    assert (told.status_code, told.json()["error"]["code"]) == (413, "request_too_large")
    assert "1000000 values" in told.json()["error"]["message"]


# -- texts that cannot be written

HALF = "half a pair: \\ud83d"


def placed(body: dict[str, Any]) -> list[bytes]:
    """The body with each of its texts, and each of its keys, replaced."""
    written = json.dumps(body)
    texts = {text for text in texts_of(body) if not text.startswith("roi://")}
    return [written.replace(json.dumps(text), f'"{HALF}"', 1).encode() for text in sorted(texts)]


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from texts_of(each)


def test_half_a_surrogate_pair_is_refused_in_every_text(client: TestClient, image: str) -> None:
    region = {"name": "region1", "box": [0, 0, 9, 9], "label": "a", "source": "b", "prompt": "c", "image": "d", "parent": "e"}
    question = {"turns": [{"question": "f", "answer": "g"}, {"question": "h"}], "regions": [region], "options": ["i", "j"]}
    bodies = {
        "/v1/chat/completions": {**chat(image), "roi": {"regions": [region]}, "stop": ["k"], "user": "l", "metadata": {"m": "n"}},
        "/v1/regions/ask": {"image": image, "questions": [question], "decoding": {"stop": ["k"]}},
        "/v1/detect": {"image": image, "phrases": ["o"]},
        "/v1/detect/candidates": {"image": image, "phrases": ["o"]},
        "/v1/segment": {"image": image, "regions": [region]},
        "/v1/segment/masks": {"image": image, "prompts": [{"mask": {"size": [512, 512], "counts": "p"}}]},
        "/v1/images": {"image": "data:image/png;base64,AAAA"},
    }
    for path, body in bodies.items():
        for content in placed(body):
            told = client.post(path, content=content, headers={"content-type": "application/json"})
            assert told.status_code == 400, (path, content)
            assert told.json()["error"]["code"] == "request_invalid" and "valid Unicode" in told.json()["error"]["message"]
    told = client.post("/v1/chat/completions", content=json.dumps(chat(image)).replace("What", "\\ud83d\\ude00 What").encode(),
                       headers={"content-type": "application/json"})  # fmt: skip
    assert told.status_code == 200  # a whole pair is a sign like any other


# -- what an error says


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b'{"model": "nano", ', "application/json", "the body is not valid JSON: EOF"),
        (b"", "application/json", "the body is not valid JSON: EOF"),
        (b"\xff\xfe", "application/json", "the body is not valid JSON: "),
        (b"[" * 20000, "application/json", "the body is not valid JSON: recursion limit"),
        (b"[]", "application/json", "the body: Input should be"),
        (b"{}", "text/plain", "the body is not declared as JSON"),
        (b"{}", "", "the body is not declared as JSON"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/regions/ask", "/v1/detect"])
def test_a_body_that_cannot_be_read_has_no_field_at_fault(
    client: TestClient, path: str, content: bytes, kind: str, problem: str
) -> None:
    error = client.post(path, content=content, headers={"content-type": kind} if kind else {}).json()["error"]
    assert error["code"] == "request_invalid" and error["message"].startswith(problem), error
    assert error["param"] is None
