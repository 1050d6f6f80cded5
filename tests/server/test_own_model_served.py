"""A region model of the user's own behind the server: its reasons to end, its deadlines, and clients that go away."""

import asyncio
import base64
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from roi_agent.loading import load_models
from roi_agent.model.engine import Counters, Engine, EngineSettings
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from tests.leaving import Leaving

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
IMAGE = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
QUESTION = {"turns": [{"question": "What is <region1>?"}], "regions": [{"box": [1, 1, 50, 50]}]}
CHAT: dict[str, Any] = {
    "model": "own",
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": IMAGE}}, {"type": "text", "text": "What is <region1>?"}],
        }
    ],
    "roi": {"regions": [{"box": [1, 1, 50, 50]}]},
}
TIMING = Timing(0.0, 0.0, False)


class Own(RegionModel):
    """Answers one question after another, each held until `go` is set.  made: changes of its answers."""

    def __init__(self, **made: Any) -> None:
        self.made, self.asked, self.reached, self.go = made, 0, threading.Event(), threading.Event()

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        self._step()
        return replace(Answer("a thing", 0.5, tuple(regions), Usage(3, 2), TIMING), **self.made)

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        self._step()
        return Choice(options[0], 0, 0.5, tuple(options), (-1.0,) * len(options), tuple(regions), Usage(3, 2), TIMING)

    def _step(self) -> None:
        self.asked += 1
        self.reached.set()
        assert self.go.wait(60)


def app_of(model: object, engine: EngineSettings | None = None) -> FastAPI:
    return build_app(load_models(region_model=model, engine=engine), ServerSettings(), name="own")


REASONS: list[tuple[Any, str, str]] = [
    ("stop", "stop", ""),
    ("length", "length", ""),
    ("content_filter", "content_filter", ""),
    ("tool_calls", "tool_calls", ""),
    ("abort", "stop", "the model stopped for the unknown reason 'abort'"),
    ("x" * 500, "stop", "the model stopped for the unknown reason 'xxx"),
    ("", "stop", ""),
    (None, "stop", ""),
]


@pytest.mark.parametrize(("finish", "reason", "note"), REASONS)
async def test_any_reason_to_end_is_reported_in_openais_terms(finish: Any, reason: str, note: str) -> None:
    model = Own(finish=finish)
    model.go.set()
    app = app_of(model)
    whole = ChatCompletion.model_validate(json.loads(await Leaving(app, "POST", "/v1/chat/completions", CHAT).content()))
    assert whole.choices[0].finish_reason == reason and whole.choices[0].message.content == "a thing"
    events = (await Leaving(app, "POST", "/v1/chat/completions", CHAT | {"stream": True}).content()).split("\n\n")
    chunks = [ChatCompletionChunk.model_validate_json(each.removeprefix("data: ")) for each in events[:-2]]
    assert events[-2] == "data: [DONE]" and chunks[-1].choices[0].finish_reason == reason
    for choice in (whole.choices[0], chunks[-1].choices[0]):
        notes: list[str] = choice.roi["notes"]  # type: ignore[union-attr]
        assert any(each.startswith(note) for each in notes) if note else notes == []
        assert all(len(each) < 200 for each in notes)
    (answer,) = (await Leaving(app, "POST", "/v1/regions/ask", {"image": IMAGE, "questions": [QUESTION]}).answer())["answers"]
    assert answer["text"] == "a thing"


@pytest.mark.parametrize("made", [{"text": None}, {"confidence": "high"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_is_a_coded_error(made: dict[str, Any], stream: bool) -> None:
    model = Own(**made)
    model.go.set()
    app = app_of(model)
    for path, body in (
        ("/v1/chat/completions", CHAT | {"stream": stream}),
        ("/v1/regions/ask", {"image": IMAGE, "questions": [QUESTION]}),
    ):
        content = await Leaving(app, "POST", path, body).content()
        assert '"code":"model_output_invalid"' in content.replace('": "', '":"')


OPTIONS = {"options": ["a cup", "a ball"]}


@pytest.mark.parametrize("question", [QUESTION, QUESTION | OPTIONS], ids=["open", "closed"])
async def test_questions_end_between_two_of_them_with_their_client_and_their_deadline(question: dict[str, Any]) -> None:
    body = {"image": IMAGE, "questions": [question] * 5}
    for leaves in (True, False):
        model = Own()
        asked = Leaving(app_of(model), "POST", "/v1/regions/ask", body if leaves else body | {"decoding": {"timeout_s": 0.3}})
        while not model.reached.is_set():
            await asyncio.sleep(0.01)
        if leaves:
            asked.leave()
        assert (await asked.answer())["error"]["code"] == ("cancelled" if leaves else "deadline_exceeded")
        model.go.set()
        await asyncio.sleep(0.2)
        assert model.asked == 1


def held(engine: Engine) -> tuple[threading.Event, threading.Event]:
    """Hold what the engine reads first: when it has been reached, and what lets it go."""
    step = engine.runner.prefill
    reached, go = threading.Event(), threading.Event()

    def hold(*given: Any) -> Any:
        reached.set()
        assert go.wait(60)
        return step(*given)

    engine.runner.prefill = hold  # type: ignore[method-assign, assignment]
    return reached, go


async def test_choices_of_our_model_end_with_their_client_and_their_deadline() -> None:
    app = app_of("nano", EngineSettings(max_batch=1))
    engine = app.state.roi.model.engine
    reached, go = held(engine)
    body = {"image": IMAGE, "questions": [QUESTION | OPTIONS] * 20}
    gone = Leaving(app, "POST", "/v1/regions/ask", body)
    late = Leaving(app, "POST", "/v1/regions/ask", body | {"decoding": {"timeout_s": 0.3}})
    while not reached.is_set() or engine.counters().waiting < 79:
        await asyncio.sleep(0.01)
    gone.leave()
    assert (await gone.answer())["error"]["code"] == "cancelled"
    await asyncio.sleep(0.4)
    go.set()
    assert (await late.answer())["error"]["code"] == "deadline_exceeded" and late.status == 504
    while engine.counters().waiting or engine.counters().running:
        await asyncio.sleep(0.01)
    assert engine.counters().answered <= 1 and engine.counters().failed == 0


ASKED = [{"type": "image_url", "image_url": {"url": IMAGE}}, {"type": "text", "text": "What is <region1>?"}]
LONG: dict[str, Any] = {  # answers of several words
    "model": "own", "n": 8, "stream": True, "messages": [{"role": "user", "content": ASKED}],
    "roi": {"regions": [{"box": [123, 194, 303, 377]}]},
}  # fmt: skip


async def ended(engine: Engine, count: int) -> Counters:
    """The counters, once so many questions have ended in whichever way."""
    while (now := engine.counters()).answered + now.cancelled + now.failed < count:
        await asyncio.sleep(0.01)
    return now


async def test_a_stream_whose_client_left_before_it_began_is_cancelled() -> None:
    app = app_of("nano")
    engine = app.state.roi.model.engine
    reached, go = held(engine)
    gone = Leaving(app, "POST", "/v1/chat/completions", LONG, reads=False)
    while not reached.is_set():
        await asyncio.sleep(0.01)
    gone.leave()
    await gone.content()
    go.set()
    assert (await ended(engine, 8)).cancelled == 8


async def test_of_several_streams_that_find_no_room_together_none_continues() -> None:
    app = app_of("nano", EngineSettings(max_batch=1, max_waiting=1))
    engine = app.state.roi.model.engine
    _, go = held(engine)
    refused = Leaving(app, "POST", "/v1/chat/completions", LONG)
    assert (await refused.answer())["error"]["code"] == "queue_full" and refused.status == 429
    go.set()
    counters = await ended(engine, 1)
    assert counters.cancelled and not counters.answered
