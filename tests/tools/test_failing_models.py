"""Detectors, segmenters and region models of the user's own that break or return what cannot be: every door names the cause."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from mcp.client.client import Client

from roi_agent import Workspace, __version__, build_agent, build_toolbox
from roi_agent.loading import load_models
from roi_agent.mcp import Workspaces, build_server
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.protocol.answers import Answer, AnswerStream, Timing, Usage
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.segmentation.segmenter import ScoredMask
from roi_agent.model.utils.cancellation import NEVER
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models, ModelSource
from roi_agent.tools.toolbox import Toolbox
from roi_agent.ui import chat
from roi_agent.ui.work import Work
from tests.leaving import Leaving

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
IMAGE = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
QUESTION = {"turns": [{"question": "What is <region1>?"}], "regions": [{"box": [1, 1, 50, 50]}]}
ASKED = [{"type": "image_url", "image_url": {"url": IMAGE}}, {"type": "text", "text": "What is <region1>?"}]
CHAT = {"model": "own", "messages": [{"role": "user", "content": ASKED}], "roi": {"regions": [{"box": [1, 1, 50, 50]}]}}
ANSWER = Answer("a cup", 0.5, (), Usage(3, 2), Timing(0.0, 0.0, False))
DOWN = ConnectionError("no route to host")


class Own(RegionModel):
    """Gives what it was made with, or raises it."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def reply(self, *asked: Any) -> Any:
        if isinstance(self._given, BaseException):
            raise self._given
        return self._given

    def choose_for(self, *asked: Any) -> Any:
        return self.reply()


class BreaksMidway(Own):
    """Says a word, and then raises what it was made with."""

    def reply_stream(self, *asked: Any) -> AnswerStream:
        return _Broken(self.reply)


class _Broken(AnswerStream):
    def __init__(self, fail: Any) -> None:
        self._fail = fail

    def __iter__(self) -> Iterator[str]:
        yield "a "
        self._fail()

    async def __aiter__(self) -> Any:
        yield "a "
        self._fail()

    def answer(self) -> Answer:
        return self._fail()  # type: ignore[no-any-return]

    def cancel(self) -> None: ...


# What a region model does, the code of its error, and what the message says.
FAILURES: dict[str, tuple[Any, str, str]] = {
    "raises": (DOWN, "model_failed", "the region model failed: ConnectionError: no route to host"),
    "times out": (TimeoutError("slow"), "model_failed", "the region model failed: TimeoutError: slow"),
    "ends an iteration": (StopIteration(), "model_failed", "the region model failed: "),
    "none": (None, "model_output_invalid", "the region model returned None"),
    "text": ("a cup", "model_output_invalid", "the region model returned 'a cup'"),
    "no text": (replace(ANSWER, text=None), "model_output_invalid", "an answer whose text is None"),  # type: ignore[arg-type]
    "NaN": (replace(ANSWER, confidence=float("nan")), "model_output_invalid", "an answer whose confidence is nan"),
    "no usage": (replace(ANSWER, usage=None), "model_output_invalid", "an answer whose usage is None"),  # type: ignore[arg-type]
    "no notes": (replace(ANSWER, notes=None), "model_output_invalid", "an answer whose notes is None"),  # type: ignore[arg-type]
}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"n": 2}),
    ("/v1/chat/completions", CHAT | {"stream": True}),
    ("/v1/chat/completions", CHAT | {"stream": True, "n": 2}),
    ("/v1/regions/ask", {"image": IMAGE, "questions": [QUESTION, QUESTION]}),
    ("/v1/regions/ask", {"image": IMAGE, "questions": [QUESTION | {"options": ["a", "b"]}]}),
]


def app_over(**models: Any) -> FastAPI:
    return build_app(load_models(**models), ServerSettings(), name="own")


def last_error(content: str) -> Any:
    """The error of an answer, or of the last event of a stream."""
    return json.loads(content.strip().split("\n\n")[-1].removeprefix("data: "))["error"]


@pytest.mark.parametrize(("given", "code", "said"), FAILURES.values(), ids=FAILURES)
async def test_a_failing_region_model_is_named_over_http(given: Any, code: str, said: str) -> None:
    app = app_over(region_model=Own(given), detector=None, segmenter=None)
    for path, body in BODIES:
        asked = Leaving(app, "POST", path, body)
        error = last_error(await asked.content())
        assert error["code"] == code and said in error["message"], (path, error)
        assert asked.status == 500 or body.get("stream")


async def test_a_stream_that_breaks_midway_names_the_cause() -> None:
    asked = Leaving(
        app_over(region_model=BreaksMidway(DOWN), detector=None), "POST", "/v1/chat/completions", CHAT | {"stream": True}
    )
    content = await asked.content()
    assert '"content": "a "' in content and last_error(content)["code"] == "model_failed"


TOOLS: dict[str, dict[str, Any]] = {
    "ask_about_regions": {"question": "What is <region1>?"},
    "ask_each_region": {"question": "What is <region>?"},
    "choose_answer": {"question": "What is <region1>?", "options": ["a", "b"]},
}


@pytest.mark.parametrize(("given", "code", "said"), FAILURES.values(), ids=FAILURES)
def test_a_failing_region_model_is_named_by_its_tools_the_agent_and_the_page(given: Any, code: str, said: str) -> None:
    models: dict[str, Any] = {"region_model": Own(given), "detector": lambda image: [[123, 194, 303, 377]]}
    box = build_toolbox(**models)
    box.workspace.add_image(SCENE)
    box.workspace.add_regions([[1, 2, 300, 400]])
    for name, arguments in TOOLS.items():
        reply = box.call(name, arguments)
        assert reply.error == code and said in reply.text, name
    result = build_agent(**models).run(SCENE, "What colour is the umbrella?")
    assert result.status == "refused" and said in result.answer
    assert any(step.error and said in step.text for step in result.trace.steps)
    work = Work(box.workspace.image().image, build_agent(**models), files="")
    list(chat.ask(work, "What is it?", box.models, NEVER))
    assert said in str(work.messages[-1]["content"]).replace("&#39;", "'")


async def test_where_a_confidence_is_weighed_a_model_without_one_is_named() -> None:
    model = Own(replace(ANSWER, confidence=None))  # type: ignore[arg-type]
    box = build_toolbox(region_model=model)
    box.workspace.add_image(SCENE)
    box.workspace.add_regions([[1, 2, 300, 400]])
    for name, arguments in TOOLS.items():
        reply = box.call(name, arguments)
        assert reply.error == "model_output_invalid" and "whose confidence is None" in reply.text
    for path, body in BODIES[:1] + BODIES[-1:]:
        error = last_error(await Leaving(app_over(region_model=model, detector=None), "POST", path, body).content())
        assert error["code"] == "model_output_invalid" and "confidence" in error["message"]


async def test_a_failing_region_model_is_named_over_mcp() -> None:
    async with Client(
        build_server(Workspaces(load_models(region_model=Own(DOWN)), only=Workspace()), version=__version__)
    ) as client:
        await client.call_tool("open_image", {"image": IMAGE})
        reply = await client.call_tool("ask_about_regions", {"question": "What is it?"})
        assert reply.is_error and "model_failed: the region model failed: ConnectionError" in reply.content[0].text  # type: ignore[union-attr]


# ---------------------------------------------------------------- detectors and segmenters


class OwnDetector:
    """Gives what it was made with, or raises it."""

    name, threshold = "own", 0.3

    def __init__(self, given: Any) -> None:
        self._given = given

    def candidates(self, *asked: Any) -> Any:
        if isinstance(self._given, BaseException):
            raise self._given
        return self._given


class OwnSegmenter:
    """The same of masks; its notes are `told`."""

    name = "own"

    def __init__(self, given: Any, told: Any = ()) -> None:
        self._given, self._told = given, told

    def masks(self, *asked: Any, **more: Any) -> Any:
        if isinstance(self._given, BaseException):
            raise self._given
        return self._given

    def notes(self, image: Any) -> Any:
        if isinstance(self._told, BaseException):
            raise self._told
        return self._told


BOXES, SCORES = np.array([[1.0, 2, 30, 40]]), np.array([[0.9]])
SMALL = ScoredMask(Mask.from_array(np.ones((4, 4), bool)), 0.9, 0.9)
DETECTORS: dict[str, tuple[Any, str, str]] = {
    "raises": (DOWN, "model_failed", "the detector failed: ConnectionError: no route to host"),
    "none": (None, "model_output_invalid", "the detector returned None"),
    "texts": (["flag"], "model_output_invalid", "the detector returned"),
    "too few": ([], "model_output_invalid", "the detector returned"),
    "boxes of three": ([Candidates(BOXES[:, :3], SCORES)], "model_output_invalid", "the detector returned boxes (1, 3)"),
    "scores of two": ([Candidates(BOXES, np.ones((1, 2)))], "model_output_invalid", "scores (1, 2)"),
    "words": ([Candidates([["a"] * 4], SCORES)], "model_output_invalid", "the detector returned boxes"),  # type: ignore[arg-type]
}
SEGMENTERS: dict[str, tuple[Any, str, str]] = {
    "raises": (OwnSegmenter(DOWN), "model_failed", "the segmenter failed: ConnectionError: no route to host"),
    "raises later": (OwnSegmenter([[]], DOWN), "model_failed", "the segmenter failed: ConnectionError: no route to host"),
    "none": (OwnSegmenter(None), "model_output_invalid", "the segmenter returned None"),
    "texts": (OwnSegmenter([["flag"]]), "model_output_invalid", "the segmenter returned"),
    "too few": (OwnSegmenter([]), "model_output_invalid", "the segmenter returned"),
    "another size": (OwnSegmenter([[SMALL]]), "model_output_invalid", "a mask of 4 x 4 pixels"),
}


@pytest.mark.parametrize(("given", "code", "said"), DETECTORS.values(), ids=DETECTORS)
async def test_a_failing_detector_is_named(given: Any, code: str, said: str) -> None:
    models: dict[str, Any] = {"region_model": None, "detector": OwnDetector(given)}
    box = build_toolbox(**models)
    box.workspace.add_image(SCENE)
    reply = box.call("find_regions", {"phrases": ["flag"]})
    assert reply.error == code and said in reply.text
    app = app_over(**models)
    for path in ("/v1/detect", "/v1/detect/candidates"):
        asked = Leaving(app, "POST", path, {"image": IMAGE, "phrases": ["flag"]})
        error = last_error(await asked.content())
        assert error["code"] == code and said in error["message"] and asked.status == 500


@pytest.mark.parametrize(("segmenter", "code", "said"), SEGMENTERS.values(), ids=SEGMENTERS)
async def test_a_failing_segmenter_is_named(segmenter: OwnSegmenter, code: str, said: str) -> None:
    models: dict[str, Any] = {"region_model": None, "segmenter": segmenter}
    box = build_toolbox(**models)
    box.workspace.add_image(SCENE)
    reply = box.call("segment_regions", {"points": [[200, 60]]})
    assert reply.error == code and said in reply.text
    app = app_over(**models)
    for path, body in (("/v1/segment", {"points": [[200, 60]]}), ("/v1/segment/masks", {"prompts": [{"box": [1, 1, 50, 50]}]})):
        asked = Leaving(app, "POST", path, {"image": IMAGE, **body})
        error = last_error(await asked.content())
        assert error["code"] == code and said in error["message"] and asked.status == 500


def test_a_model_that_cannot_be_loaded_is_named() -> None:
    def load(device: str) -> Any:
        raise OSError("the disk is gone")

    box = Toolbox(Workspace(), Models({"detect": ModelSource("own", load)}))
    box.workspace.add_image(SCENE)
    reply = box.call("find_regions", {"phrases": ["flag"]})
    assert reply.text.startswith("model_failed: loading own failed: OSError: the disk is gone; ")
