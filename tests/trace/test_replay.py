"""Replays: the same models give the same, and others exactly the differences that they make."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from PIL import Image

from roi_agent import Workspace, build_agent, load_detector, load_region_model, load_segmenter
from roi_agent.loading import build_toolbox, load_models
from roi_agent.planner.chat import OfflinePlanner
from roi_agent.replay import Difference, replay
from roi_agent.trace import Step, Trace

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENE, OTHER = EXAMPLES / "scene1.png", EXAMPLES / "scene2.png"


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {"region_model": load_region_model(), "detector": load_detector(), "segmenter": load_segmenter()}


@pytest.fixture(scope="module")
def trace(models: dict[str, Any]) -> Trace:
    return build_agent(**models).run(SCENE, "What colour is the umbrella?").trace


@pytest.mark.parametrize(
    "images,task,without",
    [
        (SCENE, "What colour is the largest thing right of the umbrella?", []),
        ([SCENE, OTHER], "How many things are there? Is there a star in image2?", []),
        (OTHER, "What is in the top left?", ["detect"]),
        (SCENE, "Which is larger, the umbrella or the white car?", ["measure"]),
        (SCENE, "Write a poem.", []),
    ],
)
def test_the_same_models_and_planner_give_the_same(models: dict[str, Any], images: Any, task: str, without: list[str]) -> None:
    trace = build_agent(**models, without=without).run(images, task).trace
    again = replay(trace, load_models(**models), planner=None if without else OfflinePlanner())
    assert again.differences == () and again.skipped == ()
    assert again.compared == again.same == sum(step.kind == "tool" or not without for step in trace.steps)


def test_a_trace_from_a_folder_in_a_later_turn_is_the_same_too(models: dict[str, Any], tmp_path: Path) -> None:
    agent = build_agent(**models)
    first = agent.run(SCENE, "Find the umbrella. How many flags are there?")
    second = agent.run(None, "Is the umbrella left of the yellow square?", thread=first.thread)
    again = replay(Trace.load(second.trace.save(tmp_path)), load_models(**models))
    assert again.differences == () and again.compared == second.usage.tool_calls


def steps_of(toolbox: Any, calls: list[tuple[str, dict[str, Any]]]) -> tuple[Step, ...]:
    """Recorded steps of tools that a planner of another kind might have called."""
    steps = []
    for number, (name, arguments) in enumerate(calls, start=1):
        before = len(toolbox.workspace.images), len(toolbox.workspace.regions())
        reply = toolbox.call(name, arguments)
        handles = tuple(region.name for region in reply.regions)
        step = Step(number, "tool", name, reply.text, arguments, handles, data=reply.data, error=reply.error is not None)
        steps.append(replace(step, images_before=before[0], regions_before=before[1]))
    return tuple(steps)


def test_every_tool_is_run_again_where_it_stood(models: dict[str, Any], trace: Trace) -> None:
    workspace = Workspace()
    workspace.add_image(SCENE)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("add_region", {"box": [123, 194, 303, 377], "label": "umbrella"}),
        ("zoom_in", {"region": "region1"}),
        ("find_regions", {"phrases": ["flag"]}),
        ("segment_regions", {"points": [[410, 240]]}),
        ("ask_about_regions", {"question": "What colour is <region2>?", "closer": True}),
        ("choose_answer", {"question": "What is <region1>?", "options": ["a cup", "an umbrella"]}),
        ("compare_regions", {"first": "region1", "second": "region2"}),
        ("compare_regions", {"first": "region1", "second": "region77"}),
        ("count_regions", {}),
        ("look_at_image", {}),
        ("list_regions", {}),
    ]
    steps = steps_of(build_toolbox(workspace, **models), calls)
    recorded = replace(trace, steps=steps, workspace=workspace)
    again = replay(recorded, load_models(**models))
    assert again.differences == () and again.same == len(calls)


def test_another_detector_differs_by_what_it_finds(models: dict[str, Any], trace: Trace) -> None:
    def elsewhere(image: Image.Image, phrases: list[str]) -> list[dict[str, Any]]:
        return [{"box": [1, 1, 50, 50], "label": "umbrella", "score": 0.9}]

    again = replay(trace, load_models(**{**models, "detector": elsewhere}))
    (difference,) = again.differences
    assert (difference.name, difference.what, difference.now) == ("find_regions", "regions", "umbrella at 1,1,50,50")
    assert difference.before.startswith("umbrella at 12") and again.same == again.compared - 1


def test_another_region_model_differs_by_what_it_says(models: dict[str, Any], trace: Trace) -> None:
    steps = list(trace.steps)
    asked = next(step for step in steps if step.name == "ask_each_region")
    answer = {**asked.data["answers"][0], "text": "a small red cup"}
    steps[asked.number - 1] = replace(asked, data={"answers": [answer]})
    again = replay(replace(trace, steps=tuple(steps)), load_models(**models))
    assert again.differences == (
        Difference(asked.number, "ask_each_region", "answer", "a small red cup", "a large orange umbrella"),
    )
    unsure = {**asked.data["answers"][0], "confidence": 0.2}
    steps[asked.number - 1] = replace(asked, data={"answers": [unsure]})
    (difference,) = replay(replace(trace, steps=tuple(steps)), load_models(**models)).differences
    assert (difference.what, difference.before) == ("confidence", "0.20")


def test_errors_that_come_and_go_are_differences(models: dict[str, Any], trace: Trace) -> None:
    failed = tuple(replace(step, error=True, text="it failed") if step.name == "find_regions" else step for step in trace.steps)
    again = replay(replace(trace, steps=failed), load_models(**models))
    assert [each.what for each in again.differences] == ["error"]


def test_what_cannot_be_run_again_is_skipped_with_the_reason(models: dict[str, Any], trace: Trace) -> None:
    odd = (
        Step(1, "tool", "draw_moustache", "done"),
        Step(2, "tool", "find_regions", "not run: the budget is used up", {"phrases": ["x"]}, error=True),
        Step(3, "planner", "gpt", "", {"calls": [{"name": "Verdict", "args": {}}]}),
    )
    again = replay(replace(trace, steps=odd), load_models(**models), planner=OfflinePlanner())
    assert [each.why for each in again.skipped] == [
        "there is no tool draw_moustache",
        "it was not run in the trace",
        "it called Verdict, which is not a tool of roi-agent",
    ]
    assert again.compared == 0 and again.to_dict()["differences"] == ()


class Silent(FakeMessagesListChatModel):
    """A planner that never calls a tool."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


def test_another_planner_differs_by_what_it_would_do(models: dict[str, Any], trace: Trace) -> None:
    again = replay(trace, load_models(**models), planner=Silent(responses=[AIMessage("orange")]))
    found = {(each.step, each.what, each.now) for each in again.differences}
    assert found == {(1, "calls", "orange"), (3, "calls", "orange"), (5, "words", "orange")}
    assert next(each.before for each in again.differences) == 'find_regions(phrases=["umbrella"])'
