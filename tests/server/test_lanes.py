"""Work of detector and segmenter behind HTTP, MCP and the page: deadlines, clients that go away, full lanes, and stuck ones."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from langchain_core.language_models import FakeListChatModel
from mcp.client.client import Client

from roi_agent import Workspace, __version__
from roi_agent.lanes import Job, Lane, Lanes
from roi_agent.loading import load_models, load_region_model
from roi_agent.mcp import Workspaces, build_server
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import DeadlineExceeded, QueueFull
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from tests.leaving import Leaving
from tests.stepping import SteppingDetector, SteppingSegmenter, Steps
from tests.waiting import until

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
IMAGE = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
POINTS: dict[str, Any] = {"prompts": [{"points": [[5, 5, 1]]}] * 40}
PHRASES = ["star", "umbrella", "flag", "cup", "moon"]
SLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "detect": ("/v1/detect", {"image": IMAGE, "phrases": PHRASES}),
    "candidates": ("/v1/detect/candidates", {"image": IMAGE, "phrases": PHRASES}),
    "everything": ("/v1/segment", {"image": IMAGE}),
    "boxes": ("/v1/segment", {"image": IMAGE, "regions": [{"box": [n, 0, n + 9, 9]} for n in range(9)]}),
    "masks": ("/v1/segment/masks", {"image": IMAGE, **POINTS}),
}


class Served:
    """An application over models that are held at each step."""

    def __init__(self, **settings: Any) -> None:
        self.detector, self.segmenter = SteppingDetector(), SteppingSegmenter()
        models = load_models(detector=self.detector, segmenter=self.segmenter)
        self.app: FastAPI = build_app(models, ServerSettings(**settings), name="nano")

    def send(self, kind: str, **more: Any) -> Leaving:
        path, body = SLOW[kind]
        return Leaving(self.app, "POST", path, body | more)

    def of(self, kind: str) -> Steps:
        return self.detector if kind in ("detect", "candidates") else self.segmenter

    async def ready(self) -> int:
        asked = Leaving(self.app, "GET", "/readyz")
        await asked.answer()
        return asked.status


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served(max_finding=2, ready_s=1.0)
    yield made
    made.detector.go.set()
    made.segmenter.go.set()


@pytest.mark.parametrize("kind", SLOW)
async def test_a_client_that_goes_away_ends_its_work_within_a_step(served: Served, kind: str) -> None:
    model = served.of(kind)
    gone = served.send(kind)
    await until(model.reached.is_set)
    gone.leave()
    assert (await gone.answer())["error"]["code"] == "cancelled"
    model.go.set()
    await until(lambda: model.ended == 1)
    assert model.taken == 1
    after = served.send(kind)
    await after.answer()
    assert after.status == 200 and model.taken > 2


@pytest.mark.parametrize("kind", SLOW)
async def test_a_deadline_holds_at_work_and_while_waiting(served: Served, kind: str) -> None:
    model = served.of(kind)
    working, waiting = served.send(kind, timeout_s=0.3), served.send(kind, timeout_s=0.4)
    for each in (working, waiting):
        assert (await each.answer())["error"]["code"] == "deadline_exceeded"
        assert each.status == 504 and each.headers["x-should-retry"] == "false"
    model.go.set()
    await until(lambda: model.ended == 1)
    assert model.taken == 1


async def test_a_call_that_names_no_deadline_has_one() -> None:
    served = Served(finding_s=0.2)
    late = served.send("everything")
    assert (await late.answer())["error"]["code"] == "deadline_exceeded"
    served.segmenter.go.set()


async def test_a_full_lane_says_when_to_retry_and_the_other_is_free(served: Served) -> None:
    inside = [served.send("everything")]
    await until(served.segmenter.reached.is_set)
    inside += [served.send("boxes"), served.send("masks")]
    await asyncio.sleep(0.3)
    full = served.send("everything")
    assert (await full.answer())["error"]["code"] == "queue_full"
    assert full.status == 429 and full.headers["retry-after"] == "1"
    served.detector.go.set()
    other = served.send("detect")
    await other.answer()
    assert other.status == 200
    inside[1].leave()  # whoever waits and goes away frees the place at once
    await inside[1].answer()
    again = served.send("boxes")
    served.segmenter.go.set()
    for each in (*inside[::2], again):
        await each.answer()
        assert each.status == 200


async def test_a_lane_that_is_stuck_is_not_ready(served: Served) -> None:
    assert await served.ready() == 200
    for kind in ("everything", "detect"):
        model = served.of(kind)
        model.go.clear()
        stuck = served.send(kind, timeout_s=0.1)
        await stuck.answer()
        assert stuck.status == 504
        await asyncio.sleep(1.0)
        assert await served.ready() == 503
        model.go.set()
        await until(lambda model=model: model.ended == 1)  # type: ignore[misc]
        assert await served.ready() == 200


async def test_work_that_was_given_up_takes_its_place_until_it_ends() -> None:
    lane, model = Lane(at_once=1, waiting=1), SteppingDetector()
    with pytest.raises(DeadlineExceeded, match=r"the time limit of 0.1 seconds expired while at work"):
        await lane.run(model.step, Cancellation(0.1))
    waiting = asyncio.ensure_future(lane.run(lambda: model.taken))
    await asyncio.sleep(0.1)
    assert not waiting.done() and lane.step_s > 0.1
    with pytest.raises(QueueFull):
        await lane.run(lambda: None)
    model.go.set()
    assert await waiting == 1
    assert lane.step_s == 0 and await lane.run(lambda: 7) == 7


async def test_work_that_fails_leaves_its_lane() -> None:
    lanes = Lanes(waiting=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await lanes.run(Job("detect", lambda stop: 1 / 0))
    assert await lanes.run(Job("detect", lambda stop: stop.left_s)) == pytest.approx(120, abs=60)


# -- MCP


CALLS: dict[str, dict[str, Any]] = {
    "find_regions": {"phrases": PHRASES},
    "segment_everything": {},
    "segment_regions": {"boxes": [[n, 0, n + 9, 9] for n in range(9)]},
}


@pytest.mark.parametrize("tool", CALLS)
async def test_a_call_that_an_mcp_client_takes_back_ends_within_a_step(tool: str) -> None:
    detector, segmenter = SteppingDetector(), SteppingSegmenter()
    model: Steps = detector if tool == "find_regions" else segmenter
    held = Workspace()
    held.add_image(SCENE)
    server = build_server(Workspaces(load_models(detector=detector, segmenter=segmenter), only=held), version=__version__)
    async with Client(server) as client:
        calling = asyncio.ensure_future(client.call_tool(tool, CALLS[tool]))
        await until(model.reached.is_set)
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
        await asyncio.sleep(0.2)
        model.go.set()
        await until(lambda: model.ended == 1)
        assert model.taken == 1 and held.regions() == ()
        told = await client.call_tool(tool, CALLS[tool])
        assert not told.is_error and held.regions() != ()


async def test_a_call_of_mcp_has_a_deadline_and_its_lane_is_bounded() -> None:
    segmenter, held = SteppingSegmenter(), Workspace()
    held.add_image(SCENE)
    workspaces = Workspaces(load_models(segmenter=segmenter), only=held)
    async with Client(build_server(workspaces, version=__version__, lanes=Lanes(waiting=1, timeout_s=0.5))) as client:
        calls = [asyncio.ensure_future(client.call_tool("segment_everything", {})) for _ in range(3)]
        told: list[Any] = await asyncio.gather(*calls)
        assert all(each.is_error for each in told)
        assert sorted(each.content[0].text.partition(":")[0] for each in told) == ["deadline_exceeded"] * 2 + ["queue_full"]
        segmenter.go.set()
        await until(lambda: segmenter.ended == 1)
        assert segmenter.taken == 1 and held.regions() == ()


ASKS: dict[str, dict[str, Any]] = {
    "ask_about_regions": {"question": "What is <region1>?"},
    "ask_each_region": {"question": "What is <region>?"},
    "choose_answer": {"question": "What is <region1>?", "options": ["a star", "a flag"]},
}


@pytest.fixture(scope="module")
def region_model() -> Any:
    return load_region_model()


@pytest.fixture
async def busy(region_model: LocalRegionModel, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Steps]:
    """The region model's engine, held at a step for a question of somebody else: others wait."""
    steps, step = Steps(), region_model.engine.runner.step

    def held(*given: Any) -> Any:
        steps.step()
        return step(*given)

    monkeypatch.setattr(region_model.engine.runner, "step", held)
    asking = asyncio.ensure_future(region_model.aask(SCENE, "What is <region1>?", [[315, 145, 504, 334]]))
    await until(steps.reached.is_set)
    yield steps
    steps.go.set()
    assert (await asking).text == "a large yellow square"


def asked_of(model: LocalRegionModel, **lanes: Any) -> Client:
    held = Workspace()
    held.add_regions([[123, 194, 303, 377]], image=held.add_image(SCENE))
    workspaces = Workspaces(load_models(region_model=model), only=held)
    return Client(build_server(workspaces, version=__version__, lanes=Lanes(**lanes)))


@pytest.mark.parametrize("tool", ASKS)
async def test_a_question_of_mcp_has_a_deadline(region_model: LocalRegionModel, busy: Steps, tool: str) -> None:
    counted = region_model.engine.counters
    async with asked_of(region_model, timeout_s=0.5) as client:
        told: Any = await client.call_tool(tool, ASKS[tool])
        assert told.is_error and told.content[0].text.startswith(
            "deadline_exceeded: the time limit of 0.5 seconds expired while "
        )
        busy.go.set()
        await until(lambda: counted().waiting == counted().running == 0)


@pytest.mark.parametrize("tool", ASKS)
async def test_a_question_that_an_mcp_client_takes_back_leaves_the_engine(
    region_model: LocalRegionModel, busy: Steps, tool: str
) -> None:
    counted = region_model.engine.counters
    before = counted().cancelled
    async with asked_of(region_model) as client:
        calling = asyncio.ensure_future(client.call_tool(tool, ASKS[tool]))
        await until(lambda: counted().waiting > 0)
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
        await asyncio.sleep(0.2)  # until the server has heard of it
        busy.go.set()
        await until(lambda: counted().cancelled > before)
        assert not (await client.call_tool(tool, ASKS[tool])).is_error


# -- the page


async def test_a_visitor_who_leaves_the_page_ends_the_work_within_a_step() -> None:
    from roi_agent.ui.actions import Actions
    from roi_agent.ui.disconnects import while_here
    from roi_agent.ui.visitors import Visitors, new_name

    detector, segmenter = SteppingDetector(), SteppingSegmenter()
    models, name = load_models(detector=detector, segmenter=segmenter), new_name()
    visitors = Visitors(max_visitors=5, visitor_bytes=2**30, total_bytes=2**30, idle_s=600.0, keep_s=600.0)
    actions = Actions(visitors, models, FakeListChatModel(responses=["x"]), Lanes(waiting=1, timeout_s=30.0).run)
    actions.open_scene(name, 0)
    for model, find in (
        (detector, lambda: actions.find(name, "star . moon")),
        (segmenter, lambda: actions.point(name, (50, 50))),
    ):
        shown = while_here(find())
        assert await anext(shown) is None and model.reached.is_set()  # nothing to be seen yet
        await shown.aclose()  # type: ignore[attr-defined]
        model.go.set()
        await until(lambda model=model: model.ended == 1)  # type: ignore[misc]
        assert model.taken == 1 and visitors.get(name).regions == ()
        seen = await find()
        assert seen.status and visitors.get(name).workspace.regions() != ()
        visitors.get(name).hidden = {region.name for region in visitors.get(name).workspace.regions()}
