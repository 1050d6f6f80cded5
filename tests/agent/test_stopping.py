"""A run that is stopped ends the tool that is at work at its next step; agents of one server find things one after another."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from roi_agent import build_agent, load_region_model
from roi_agent.agent.agent import Agent
from roi_agent.agent.events import Finished, Stepped
from roi_agent.agent.planners import load_planner
from roi_agent.agent.result import Budget, Result
from roi_agent.lanes import Lanes
from roi_agent.loading import load_models
from roi_agent.tools.models import Models
from tests.chat_server import ChatServer, call, calls, says
from tests.stepping import SteppingDetector, SteppingSegmenter, Steps
from tests.waiting import until

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
EVERYTHING, COUNT = call("segment_everything"), call("count_regions")
TOOLS = {
    "everything": EVERYTHING,
    "boxes": call("segment_regions", boxes=[[n, 0, n + 9, 9] for n in range(9)]),
    "words": call("find_regions", phrases=["star", "umbrella", "flag"]),
}


class Held:
    """An agent whose planner calls tools, and whose models are held at each step."""

    def __init__(self, server: ChatServer, *tools: dict[str, Any], **options: Any) -> None:
        self.detector, self.segmenter = SteppingDetector(), SteppingSegmenter()
        model = server.script(calls(*tools), says("done"))
        models: dict[str, Any] = {"region_model": None, "detector": self.detector, "segmenter": self.segmenter}
        self.agent: Agent = build_agent(f"openai:{model}", base_url=server.url, api_key="k", **models, **options)

    @property
    def at_work(self) -> Steps:
        return self.detector if self.detector.taken else self.segmenter

    async def reached(self) -> Steps:
        await until(lambda: self.detector.taken + self.segmenter.taken > 0)
        return self.at_work

    def let_go(self) -> None:
        self.detector.go.set()
        self.segmenter.go.set()


@pytest.fixture
def held(server: ChatServer) -> Iterator[Callable[..., Held]]:
    made: list[Held] = []

    def make(*tools: dict[str, Any], **options: Any) -> Held:
        made.append(Held(server, *tools, **options))
        return made[-1]

    yield make
    for each in made:
        each.let_go()


def check_stopped(result: Result, why: str, code: str) -> None:
    assert result.status == "partial" and why in result.answer
    (tool,) = [step for step in result.trace.steps if step.kind == "tool"]
    assert tool.error and tool.text.startswith(f"{code}: ") and result.trace.workspace.regions() == ()


@pytest.mark.parametrize("tool", TOOLS)
async def test_stop_ends_a_tool_at_its_next_step(held: Callable[..., Held], tool: str) -> None:
    run, stop = held(TOOLS[tool]), threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(lambda: list(run.agent.stream(SCENE, "Look.", stop=stop))))
    model = await run.reached()
    stop.set()
    model.go.set()
    last = (await running)[-1]
    assert isinstance(last, Finished) and (model.taken, model.ended) == (1, 1)
    check_stopped(last.result, "it was cancelled", "cancelled")


async def test_the_end_of_the_budget_ends_a_tool_at_its_next_step(held: Callable[..., Held]) -> None:
    run = held(EVERYTHING, budget=Budget(seconds=3))
    running = asyncio.ensure_future(run.agent.arun(SCENE, "Look."))
    model = await run.reached()
    await asyncio.sleep(3)
    model.go.set()
    check_stopped(await running, "the budget of 3 seconds is used up", "deadline_exceeded")
    assert model.taken == 1


async def test_a_task_that_is_cancelled_ends_a_tool_at_its_next_step(held: Callable[..., Held]) -> None:
    run = held(EVERYTHING)
    running = asyncio.ensure_future(run.agent.arun(SCENE, "Look."))
    model = await run.reached()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    model.go.set()
    await until(lambda: model.ended == 1)
    assert model.taken == 1


async def test_a_stream_that_is_closed_ends_a_tool_at_its_next_step(held: Callable[..., Held]) -> None:
    run = held(COUNT, EVERYTHING)
    events = run.agent.stream(SCENE, "Look.")
    while not (isinstance(event := next(events), Stepped) and event.step.name == "count_regions"):
        pass
    model = await run.reached()
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(events.close)  # type: ignore[attr-defined]
        await until(lambda: run.segmenter.cancellation.cancelled)
        model.go.set()
        closing.result(60)
    assert (model.taken, model.ended) == (1, 1)


async def test_stop_takes_back_a_question_to_the_region_model(server: ChatServer) -> None:
    model: Any = load_region_model()
    script = server.script(calls(call("ask_each_region", question="What is <region>?")), says("done"))
    agent = build_agent(f"openai:{script}", base_url=server.url, api_key="k", region_model=model)
    reached, go, stop, step = threading.Event(), threading.Event(), threading.Event(), model.engine.runner.step

    def held_step(*given: Any) -> Any:
        reached.set()
        assert go.wait(60)
        return step(*given)

    model.engine.runner.step = held_step
    regions = [[123, 194, 303, 377], [315, 145, 504, 334]]
    running = asyncio.ensure_future(asyncio.to_thread(lambda: list(agent.stream(SCENE, "Look.", regions=regions, stop=stop))))
    await until(reached.is_set)
    stop.set()
    last = (await running)[-1]  # the step that the engine is at is not waited for
    go.set()
    assert isinstance(last, Finished) and "it was cancelled" in last.result.answer
    await until(lambda: model.engine.counters().cancelled == 2)


# -- agents of one server


def agent_in(lanes: Lanes, server: ChatServer, models: Models) -> Agent:
    planner = load_planner(f"openai:{server.script(calls(EVERYTHING), says('done'))}", base_url=server.url, api_key="k")
    options: dict[str, Any] = {"pictures": False, "second_look": True, "verify": True, "price": None, "folder": None}
    return Agent(planner, models, budget=Budget(), without=(), approve=(), in_turn=lanes.call, **options)


def tool_of(result: Result) -> str:
    return next(step.text for step in result.trace.steps if step.kind == "tool")


async def test_agents_of_one_server_find_things_one_after_another(server: ChatServer) -> None:
    lanes, segmenter, stop = Lanes(waiting=1), SteppingSegmenter(), threading.Event()
    models, inside = load_models(segmenter=segmenter), lanes._lanes["segment"]._inside
    first = asyncio.ensure_future(agent_in(lanes, server, models).arun(SCENE, "Look."))
    await until(segmenter.reached.is_set)
    second = agent_in(lanes, server, models)
    waits = asyncio.ensure_future(asyncio.to_thread(lambda: list(second.stream(SCENE, "Look.", stop=stop))))
    await until(lambda: len(inside) == 2)
    assert tool_of(await agent_in(lanes, server, models).arun(SCENE, "Look.")).startswith("queue_full: ")
    stop.set()  # whoever waits leaves its place
    last = (await waits)[-1]
    assert isinstance(last, Finished) and len(inside) == 1
    check_stopped(last.result, "it was cancelled", "cancelled")
    segmenter.go.set()
    assert "mask" in tool_of(await first) and segmenter.ended == 1 and not inside
