"""What clients send to the chat route beside a question: turns with tools, hints for others; and errors that name a field."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.test_limits import app_of, chat, client_of, uploaded

QUESTION = "What colour is <region1>?"
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOLD: dict[str, Any] = {"role": "tool", "tool_call_id": "call_1", "content": "x"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(app_of()) as made:
        yield made


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    return uploaded(client)


def told(client: TestClient, image: str, **more: Any) -> Any:
    return client.post("/v1/chat/completions", json={**chat(image), **more}).json()


def user(image: str, text: str = QUESTION) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": image}}]}


@pytest.mark.parametrize(
    ("between", "note"),
    [
        ([{"role": "assistant", "content": None, "tool_calls": [CALL]}, TOLD], True),
        ([{"role": "assistant", "tool_calls": [CALL]}, TOLD | {"content": [{"type": "text", "text": "x"}]}], True),
        ([{"role": "assistant", "content": "", "tool_calls": []}], False),
        ([{"role": "assistant", "content": None, "refusal": "no", "audio": None, "function_call": None}], False),
        ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}], False),
    ],
)  # fmt: skip
def test_turns_without_words_are_left_out(client: TestClient, image: str, between: list[Any], note: bool) -> None:
    messages = [user(image, "What is <region1>?"), *between, {"role": "assistant", "content": "a thing"}]
    answer = told(client, image, messages=[*messages, {"role": "user", "content": QUESTION}])["choices"][0]
    assert answer["message"]["content"] == "orange"
    assert any("tool calls" in each for each in answer["roi"]["notes"]) == note


@pytest.mark.parametrize("last", [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "x"}])
def test_a_conversation_ends_with_a_question(client: TestClient, image: str, last: dict[str, Any]) -> None:
    error = told(client, image, messages=[user(image), last])["error"]
    assert error["code"] == "invalid_setting" and "end with a user message" in error["message"]


def test_forms_of_other_services_are_read(client: TestClient, image: str) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    content = [{"type": "text", "text": QUESTION, **cached}, {"type": "image_url", "image_url": image, **cached}]
    answer = told(client, image, messages=[{"role": "user", "content": content, **cached}], tools=[])
    assert answer["choices"][0]["message"]["content"] == "orange"


HINTS = {
    "service_tier": "auto", "prompt_cache_key": "k", "prompt_cache_retention": "24h", "safety_identifier": "s", "user": "u",
    "reasoning_effort": "low", "verbosity": "low", "audio": None, "metadata": {"a": "b"}, "prediction": None,
}  # fmt: skip
SILENT = {"modalities": ["text"], "functions": [], "function_call": "none", "web_search_options": None, "store": False}


@pytest.mark.parametrize("stream", [False, True])
def test_hints_that_mean_nothing_here_are_ignored_and_named(client: TestClient, image: str, stream: bool) -> None:
    answer = client.post("/v1/chat/completions", json=chat(image, **HINTS, **SILENT, stream=stream)).text
    assert all(name in answer for name in HINTS) and "ignored" in answer
    assert not any(name in answer for name in SILENT)
    plain = told(client, image)["choices"][0]
    assert plain["message"]["content"] == "orange" and plain["roi"]["notes"] == []


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text", "Field required"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]}, "messages.0.content.0.text", "string"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "loud": 1}]}]},
         "messages.0.content.0.loud", "Extra"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0", "'text' or 'image_url'"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages.0.content.0", "'text' or 'image_url'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"uri": "x"}}]}]},
         "messages.0.content.0.image_url.url", "Field required"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}]},
         "messages.0.content.0.image_url", "object"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content", "string"),
        ({"messages": [{"role": "user", "content": {"text": "x"}}]}, "messages.0.content", "string"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0", "no content"),
        ({"messages": [{"role": "user"}]}, "messages.0", "no content"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role", "'user'"),
        ({"tools": [{"type": "function"}]}, "tools", "a region model has no tools"),
        ({"functions": [{"name": "f"}]}, "functions", "a region model has no tools"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4 items"),
        ({"stop": [1]}, "stop.0", "string"),
        ({"stop": 1}, "stop", "string"),
        ({"stop": ""}, "stop", "at least 1 character"),
        ({"frequency_penalty": 1}, "frequency_penalty", "not supported; leave it out"),
        ({"logit_bias": {"7": 1}}, "logit_bias", "not supported; leave it out"),
        ({"audio": {"voice": "alloy"}}, "audio", "not supported; leave it out"),
        ({"modalities": ["audio"]}, "modalities.0", "'text'"),
        ({"response_format": {"type": "json_object"}}, "response_format.type", "'text'"),
        ({"roi": {"regions": [{"mask": {"size": [1, 1], "counts": ["x"]}}]}}, "roi.regions.0.mask.counts.0", "integer"),
    ],
)  # fmt: skip
def test_an_error_names_the_field_and_what_is_allowed(
    client: TestClient, image: str, change: dict[str, Any], field: str, problem: str
) -> None:
    error = told(client, image, **change)["error"]
    assert error["code"] == "request_invalid" and error["param"] == field, error
    assert error["message"].startswith(f"{field}: ") and problem in error["message"], error
