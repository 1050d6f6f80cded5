"""The server as its users meet it: a real process, the unmodified openai client, LangChain's, and plain HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI

from roi_agent import load_region_model
from roi_agent.model.protocol.region_model import RegionModel
from tests.server.clients import ASK, DATA_URL, FLAG, SCENE, SQUARE, UMBRELLA, complete, messages, refused, roi, send
from tests.serving import Serving


@pytest.fixture(scope="module")
def client(served: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def local() -> RegionModel:
    return load_region_model("nano")


# -- chat completions


def test_the_openai_client_gets_the_local_answer(client: openai.OpenAI, local: RegionModel, handle: str) -> None:
    expected = local.ask(SCENE, "What is <region1>?", [UMBRELLA])
    for image in (DATA_URL, handle):
        made = complete(client, model="nano", messages=messages("What is <region1>?", image), extra_body=roi(UMBRELLA))
        choice: Any = made.choices[0]
        assert choice.message.content == expected.text == "a large orange umbrella"
        assert choice.finish_reason == "stop"
        assert choice.roi["confidence"] == pytest.approx(expected.confidence, abs=1e-4)
        assert choice.roi["regions"][0]["box"] == UMBRELLA
        assert made.usage.prompt_tokens == expected.usage.prompt_tokens
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.usage.prompt_tokens_details.cached_tokens > 0


def test_a_stream_begins_with_the_role_and_ends_with_the_usage(client: openai.OpenAI, handle: str) -> None:
    chunks = list(
        complete(
            client,
            model="nano",
            messages=messages("What is <region1>?", handle),
            extra_body=roi(SQUARE),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "a large yellow square"
    assert len(chunks) >= 6  # token by token
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-2].choices[0].roi["confidence"] > 0.5
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_answers_are_drawn_apart_and_repeatably(client: openai.OpenAI, handle: str) -> None:
    wanted: dict[str, Any] = {"model": "nano", "messages": messages("What is <region1>?", handle), "extra_body": roi(FLAG)}
    wanted |= {"n": 6, "temperature": 2.0, "seed": 5}
    first, second = (complete(client, **wanted) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices] and len(set(texts)) > 1
    assert [choice.index for choice in first.choices] == list(range(6))
    pieces: dict[int, str] = dict.fromkeys(range(6), "")
    for chunk in complete(client, **wanted, stream=True):
        for choice in chunk.choices:
            pieces[choice.index] += choice.delta.content or ""
    assert list(pieces.values()) == texts


def test_stop_length_and_log_probabilities(client: openai.OpenAI, handle: str) -> None:
    wanted: dict[str, Any] = {"model": "nano", "messages": messages("What is <region1>?", handle), "extra_body": roi(UMBRELLA)}
    stopped = complete(client, **wanted, stop=["umbrella"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("a large orange", "stop")
    cut = complete(client, **wanted, max_tokens=2).choices[0]
    assert (cut.message.content, cut.finish_reason) == ("a large", "length")
    told = complete(client, **wanted, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert "".join(each.token for each in told.content).strip() == "a large orange umbrella"
    assert all(each.top_logprobs[0].logprob == each.logprob > each.top_logprobs[1].logprob for each in told.content)
    assert bytes(told.content[0].bytes or []).decode() == told.content[0].token


def test_a_conversation_continues(client: openai.OpenAI, local: RegionModel) -> None:
    chat = local.chat(SCENE, [UMBRELLA, SQUARE])
    said = messages("Is <region1> left of <region2>?")
    for question in ("Why?", None):
        answer = complete(client, model="nano", messages=said, extra_body=roi(UMBRELLA, SQUARE)).choices[0].message
        assert answer.content == chat.ask("Why?" if question is None else "Is <region1> left of <region2>?").text
        said += [answer.model_dump(), {"role": "user", "content": "Why?"}]


def test_regions_may_stand_at_the_image_and_a_system_message_is_left_out_with_a_note(client: openai.OpenAI) -> None:
    said = [{"role": "system", "content": "Be brief."}, *messages("What colour is <region1>?")]
    said[1]["content"][0] |= roi(FLAG)
    made: Any = complete(client, model="nano", messages=said).choices[0]
    assert made.message.content == "pink" and "system message was ignored" in made.roi["notes"][0]


def test_langchain_gets_answers_and_streams(served: Serving) -> None:
    model = ChatOpenAI(base_url=f"{served.address}/v1", api_key="none", model="nano", extra_body=roi(UMBRELLA))  # type: ignore[arg-type]
    assert model.invoke([("user", messages("What colour is <region1>?")[0]["content"])]).content == "orange"
    pieces = [chunk.content for chunk in model.stream([("user", messages("What is <region1>?")[0]["content"])])]
    assert "".join(str(piece) for piece in pieces) == "a large orange umbrella" and len(pieces) > 3


# -- the other routes


def test_questions_in_a_batch_with_turns_and_options(served: Serving, handle: str) -> None:
    regions = roi(UMBRELLA, FLAG)["roi"]["regions"]
    answers = send(
        served,
        "/v1/regions/ask",
        {
            "image": handle,
            "questions": [
                {"turns": [{"question": "What colour is <region2>?"}], "regions": regions},
                {"turns": [{"question": "What kind of thing is <region1>?"}], "regions": regions, "options": ["cup", "umbrella"]},
                {
                    "turns": [{"question": "Is <region1> left of <region2>?", "answer": "no"}, {"question": "Why?"}],
                    "regions": regions,
                },
            ],
        },
    )["answers"]
    assert [each["text"] for each in answers[:2]] == ["pink", "umbrella"]
    assert answers[1]["index"] == 1 and answers[2]["text"].split()


def test_things_are_found_and_segmented(served: Serving, handle: str) -> None:
    found = send(served, "/v1/detect", {"image": handle, "phrases": "orange umbrella . star ."})
    (umbrella,) = [region for region in found["regions"] if region["label"] == "orange umbrella"]
    assert umbrella["box"] == pytest.approx(UMBRELLA, abs=12) and set(found["best_scores"]) == {"orange umbrella", "star"}
    (mask,) = send(served, "/v1/segment", {"image": handle, "regions": [umbrella]})["regions"]
    assert mask["mask"]["size"] == [512, 512] and mask["box"] == pytest.approx(UMBRELLA, abs=12)
    (pointed,) = send(served, "/v1/segment", {"image": handle, "points": [[410, 240]]})["regions"]
    assert pointed["box"] == pytest.approx(SQUARE, abs=12)
    assert len(send(served, "/v1/segment", {"image": handle})["regions"]) >= 4


def test_an_image_is_known_by_its_handle(served: Serving, handle: str) -> None:
    name = handle.rpartition("/")[2]
    told = send(served, f"/v1/images/{name}")
    assert (told["url"], told["width"], told["height"]) == (handle, 512, 512)
    assert send(served, "/v1/images", {"image": DATA_URL})["width"] == 512
    assert refused(served, "/v1/images/img-of-nobody")[:2] == (404, "unknown_image")


def test_health_models_and_metrics(served: Serving, client: openai.OpenAI) -> None:
    assert send(served, "/healthz") == {"status": "ok"}
    assert send(served, "/readyz")["status"] == "ready"
    assert [model.id for model in client.models.list()] == ["nano"] and client.models.retrieve("nano").id == "nano"
    with pytest.raises(openai.NotFoundError, match="use nano"):
        client.models.retrieve("gpt-4o")
    told = send(served, "/metrics")
    assert "roi_engine_cancelled_total" in told and "roi_engine_deadline_exceeded_total" in told
    assert 'roi_requests_total{route="/readyz",status="200"}' in told and "roi_engine_vision_passes_total" in told


# -- bad input


def asking(box: Any) -> bytes:
    """A question about one box, written by hand, since no writer of JSON writes all of these."""
    return json.dumps({"image": DATA_URL, **ASK}).replace(json.dumps(UMBRELLA), box).encode()


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ("[NaN, 0, 10, 10]", "request_invalid"),
        ("[0, 0, Infinity, 10]", "request_invalid"),
        ("[0, 0, 1e400, 10]", "request_invalid"),
        ("[0, 0, 3e38, 10]", "box_out_of_bounds"),
        ("[10, 10, 5, 20]", "box_empty"),
        ("[10, 10, 10, 20]", "box_empty"),
        ("[-5, 0, 10, 10]", "box_out_of_bounds"),
        ('["0", 0, 10, 10]', "request_invalid"),
        ("[0, 0, 10]", "request_invalid"),
        ("[[0, 0, 10, 10]]", "request_invalid"),
        ("null", "box_format_unknown"),
        (json.dumps(UMBRELLA) + ', "format": "ltrb"', "request_invalid"),
        (json.dumps(UMBRELLA) + ', "name": "region0"', "invalid_setting"),
        (json.dumps(UMBRELLA) + ', "colour": "red"', "request_invalid"),
    ],
)
def test_boxes_that_cannot_be_are_refused(served: Serving, box: str, code: str) -> None:
    assert refused(served, "/v1/regions/ask", asking(box))[:2] == (400, code)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "gpt-4o"}, 404, "model_not_found"),
        ({"messages": []}, 400, "request_invalid"),
        ({"messages": [{"role": "user", "content": "What is <region1>?"}]}, 400, "invalid_setting"),
        ({"messages": messages("")}, 400, "invalid_setting"),
        ({"messages": messages("What is <region2>?")}, 400, "unknown_region"),
        ({"messages": messages("x", "http://169.254.169.254/latest")}, 400, "image_unreadable"),
        ({"messages": messages("x", "file:///etc/passwd")}, 400, "image_unreadable"),
        ({"messages": messages("x", "roi://images/img-gone")}, 404, "unknown_image"),
        ({"messages": messages("x", "data:image/png;base64,AAAA")}, 400, "image_unreadable"),
        ({"messages": messages("word " * 3000)}, 400, "prompt_too_long"),
        ({"messages": messages("x" * 30000)}, 400, "request_invalid"),
        ({"n": 9}, 400, "request_invalid"),
        ({"max_tokens": 0}, 400, "request_invalid"),
        ({"max_tokens": 4096}, 400, "prompt_too_long"),
        ({"temperature": 3}, 400, "request_invalid"),
        ({"top_logprobs": 3}, 400, "invalid_setting"),
        ({"tools": [{"type": "function"}]}, 400, "request_invalid"),
        ({"frequency_penalty": 1}, 400, "request_invalid"),
        ({"response_format": {"type": "json_object"}}, 400, "request_invalid"),
        ({"surprise": 1}, 400, "request_invalid"),
        ({"roi": {"regions": [{"box": UMBRELLA}] * 201}}, 400, "request_invalid"),
        ({"roi": {"regions": [{"name": "region1", "box": UMBRELLA}] * 2}}, 400, "invalid_setting"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("stream", [False, True])
def test_chats_that_cannot_be_answered_are_refused(
    served: Serving, change: dict[str, Any], status: int, code: str, stream: bool
) -> None:
    body = {"model": "nano", "messages": messages("What is <region1>?"), **roi(UMBRELLA), "stream": stream} | change
    assert refused(served, "/v1/chat/completions", body)[:2] == (status, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 20000, b'{"image": "\\ud800", "questions": []}'])
def test_bodies_that_are_no_request_are_refused(served: Serving, body: bytes) -> None:
    status, code, error = refused(served, "/v1/regions/ask", body)
    assert (status, code) == (400, "request_invalid") and error["message"]


def test_routes_that_do_not_exist_answer_in_the_same_form(served: Serving) -> None:
    assert refused(served, "/v1/completions", {})[:2] == (404, "not_found")
    assert refused(served, "/v1/models", {})[:2] == (405, "method_not_allowed")


def test_a_deadline_is_reported_and_not_tried_again(served: Serving, handle: str) -> None:
    body = {"image": handle, **ASK, "decoding": {"timeout_s": 1e-6}}
    with pytest.raises(urllib.error.HTTPError) as caught:
        send(served, "/v1/regions/ask", body)
    assert caught.value.code == 504 and caught.value.headers["x-should-retry"] == "false"
    caught.value.close()
