"""Whatever the planner's server does, a run ends within its budget, with an honest answer or one clear error."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from roi_agent import Workspace, build_agent, load_region_model
from roi_agent.agent.agent import Agent
from roi_agent.agent.events import Finished
from roi_agent.agent.result import Budget, Result
from roi_agent.model.errors import PlannerFailed, RoiAgentError
from tests.chat_server import ChatServer, calls, find, says
from tests.trouble import KEY, Case, cases

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
GIVEN = [315, 145, 504, 334]  # the user's own region
SLACK_S = 5.0  # of a busy machine; what hangs, hangs for longer
CASES = cases()


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    def detect(image: Image.Image, phrases: list[str]) -> list[dict[str, Any]]:
        return [{"box": [123, 194, 303, 377], "label": each, "score": 0.9} for each in phrases if each in ("umbrella", "flag")]

    return {"region_model": load_region_model(), "detector": detect}


def agent_of(server: ChatServer, models: dict[str, Any], model: str, budget: Budget) -> Agent:
    return build_agent(f"openai:{model}", base_url=server.url, api_key=KEY, budget=budget, **models)


def ended(agent: Agent, task: str, *, stream: bool = False, **options: Any) -> Result | RoiAgentError:
    """How a run ends: a result or a coded error; anything else is raised."""
    try:
        if not stream:
            return agent.run(task=task, **options)
        *_, last = agent.stream(task=task, **options)
        assert isinstance(last, Finished)
        return last.result
    except RoiAgentError as error:
        return error


def check_end(outcome: Result | RoiAgentError) -> None:
    if isinstance(outcome, RoiAgentError):
        assert isinstance(outcome, PlannerFailed) and outcome.code == "planner_failed", outcome
        text = str(outcome)
        assert "\n" not in text and len(text) < 700 and outcome.do
    else:
        text = outcome.answer
        assert outcome.status in ("answered", "partial") and outcome.answer.strip()
        assert outcome.status == "answered" or outcome.answer.startswith("I stopped before I was done: ")
        assert all(step.kind == "planner" for step in outcome.trace.steps) or outcome.usage.tool_calls > 0
        assert outcome.usage.input_tokens >= 0 and outcome.usage.output_tokens >= 0
    assert KEY not in text and "Traceback" not in text


def check_whole(workspace: Workspace, folder: Path) -> None:
    regions, images = workspace.regions(), workspace.images
    assert [each.name for each in regions] == [f"region{number}" for number in range(1, len(regions) + 1)]
    assert [each.name for each in images] == [f"image{number}" for number in range(1, len(images) + 1)]
    assert regions[0].box.xyxy == tuple(GIVEN) and regions[0].source == "user"
    for region in regions:
        width, height = workspace.image(region.image).size_wh
        assert 0 <= region.box.x1 < region.box.x2 <= width and 0 <= region.box.y1 < region.box.y2 <= height
    workspace.save(folder)
    again = Workspace.load(folder)
    assert again.regions() == regions
    assert [each.image.digest() for each in again.images] == [each.image.digest() for each in images]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 300 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=pytest.mark.sweep if case.swept else ()) for case in CASES]
)
def test_a_run_ends_well_whatever_the_server_does(server: ChatServer, models: dict[str, Any], tmp_path: Path, case: Case) -> None:
    model = server.script(*case.replies, then=case.then)
    agent = agent_of(server, models, model, Budget(seconds=case.seconds, steps=case.steps))
    start = time.monotonic()
    outcome = ended(agent, "What colour is the umbrella?", image=SCENE, regions=[GIVEN], thread="t", stream=case.stream)
    assert time.monotonic() - start < case.seconds + SLACK_S
    assert server.complaints(model) == []
    check_end(outcome)
    check_whole(agent.workspace("t"), tmp_path / "workspace")
    if isinstance(outcome, Result):
        if case.stream:  # every case runs whole and streamed; its trace is the same
            outcome.trace.save(tmp_path / "trace")
    else:
        assert not any(region.label == "umbrella" for region in agent.workspace("t").regions())
    wait_for_given_up_requests()
    check_usable(server, agent, model)


def wait_for_given_up_requests() -> None:
    """A client goes on trying after its run has ended, and would be given what the next run is to be given."""
    for thread in threading.enumerate():
        if thread.name == "planner":
            thread.join(30)
            assert not thread.is_alive()


def check_usable(server: ChatServer, agent: Agent, model: str) -> None:
    """A sound run in the same thread works, given the time it takes on a busy machine."""
    agent.budget = replace(agent.budget, seconds=30.0)
    look = [calls(find("flag"))] if agent.budget.steps > 1 else []
    server.script(*look, says("it is there (region2)"), name=model)
    after = agent.run(task="Is there a flag?", thread="t")
    assert server.complaints(model) == []
    assert (after.status, after.said) == ("answered", "it is there (region2)")
