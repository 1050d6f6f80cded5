"""One declaration a tool: a new ability is everywhere with no other edit, and what is declared of each is what it does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

from roi_agent import Workspace, __version__, build_agent
from roi_agent.agent.evidence import check_evidence
from roi_agent.agent.result import Budget
from roi_agent.agent.running import Run
from roi_agent.loading import build_toolbox, load_models
from roi_agent.mcp import Workspaces, build_server
from roi_agent.replay import replay
from roi_agent.tools.abilities import ABILITIES
from roi_agent.tools.ability import Ability, Context
from roi_agent.tools.arguments import Arguments, RegionHandle
from roi_agent.tools.reply import ToolReply
from roi_agent.tools.toolbox import Toolbox, tool_names
from roi_agent.trace import Step, Trace

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
BOX = [123, 194, 303, 377]


class HalfArguments(Arguments):
    """Arguments of halve_region."""

    region: RegionHandle


def halve(context: Context, given: HalfArguments) -> ToolReply:
    """The upper half of a region, as a region."""
    whole = context.workspace.region(given.region)
    x1, y1, x2, y2 = whole.box.xyxy
    regions = context.workspace.add_regions([[x1, y1, x2, (y1 + y2) / 2]], image=whole.image)
    return ToolReply(f"{regions[0].name} is the upper half of {whole.name}", regions)


HALVE = Ability("halve_region", "Halve a region.", HalfArguments, halve, group="list", changes=("regions",))


@pytest.fixture
def workspace() -> Workspace:
    held = Workspace()
    held.add_regions([BOX], image=held.add_image(SCENE))
    return held


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ABILITIES, HALVE.name, HALVE)


@pytest.mark.usefixtures("declared")
def test_a_declared_ability_is_a_tool_for_planners(workspace: Workspace) -> None:
    toolbox = build_toolbox(workspace)
    assert toolbox.names[-1] == HALVE.name in tool_names(["list"])
    assert HALVE.name not in build_toolbox(workspace, without=["list"]).names
    schema = toolbox.openai_tools()[-1]["function"]
    assert (schema["name"], schema["description"]) == (HALVE.name, HALVE.description)
    assert schema["parameters"]["required"] == ["region"]
    assert toolbox.call(HALVE.name, {"region": "third"}).error == "invalid_arguments"
    tool = toolbox.tools()[-1]
    message = tool.invoke({"type": "tool_call", "id": "1", "name": HALVE.name, "args": {"region": "region1"}})
    assert message.content == "region2 is the upper half of region1" and message.artifact["regions"][0]["name"] == "region2"


@pytest.mark.usefixtures("declared")
async def test_a_declared_ability_is_a_tool_of_mcp(workspace: Workspace) -> None:
    models = load_models()
    async with Client(build_server(Workspaces(models, only=workspace), version=__version__)) as client:
        tool = (await client.list_tools()).tools[-1]
        assert tool.name == HALVE.name and tool.annotations is not None and tool.annotations.read_only_hint is False
        reply: Any = await client.call_tool(HALVE.name, {"region": "region1"})
    assert reply.structured_content["regions"][0]["box"] == [123, 194, 303, 285.5]


@pytest.mark.usefixtures("declared")
def test_a_declared_ability_is_traced_and_replayed(workspace: Workspace, tmp_path: Path) -> None:
    trace, toolbox = build_agent().run(SCENE, "Write a poem.").trace, build_toolbox(workspace)
    reply = toolbox.call(HALVE.name, {"region": "region1"})
    handles = tuple(region.name for region in reply.regions)
    step = Step(1, "tool", HALVE.name, reply.text, {"region": "region1"}, handles, images_before=1, regions_before=1)
    recorded = replace(trace, steps=(step,), workspace=workspace)
    loaded = Trace.load(recorded.save(tmp_path))
    assert loaded.steps == (step,) and loaded.picture(step) is not None and HALVE.name in loaded.to_html()
    assert replay(loaded, load_models()).same == 1
    # What it adds is compared by place, not by words.
    assert replay(replace(loaded, steps=(replace(step, text="done"),)), load_models()).same == 1
    (difference,) = replay(replace(loaded, steps=(replace(step, regions=("region1",)),)), load_models()).differences
    assert difference.what == "regions"


def test_a_declared_ability_that_asks_needs_the_region_model_and_is_evidence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = replace(ABILITIES["ask_about_regions"], name="ask_twice", group="view", asks=True)
    monkeypatch.setitem(ABILITIES, asking.name, asking)
    toolbox, without = build_toolbox(workspace), build_toolbox(workspace, region_model=None)
    assert asking.name in toolbox.names and asking.name not in without.names
    assert without.call(asking.name, {}).error == "model_not_found"
    run, arguments = Run(Budget(), "test", workspace), {"question": "What colour is <region1>?"}
    reply = toolbox.call(asking.name, arguments)
    run.record("tool", asking.name, reply.text, run.start_step(), arguments=arguments, result=reply.result)
    evidence = check_evidence("orange (region1)", run, toolbox, verify=False)
    assert evidence.confidence == reply.data["confidence"]


def test_a_declared_ability_that_adds_an_image_is_shown_by_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    closer = replace(ABILITIES["zoom_in"], name="look_closer")
    trace, reply = (
        build_agent().run(SCENE, "Write a poem.").trace,
        build_toolbox(workspace).call("zoom_in", {"region": "region1"}),
    )
    step = Step(1, "tool", closer.name, reply.text, {"region": "region1"}, image=reply.data["image"])
    recorded = replace(trace, steps=(step,), workspace=workspace)
    assert recorded.picture(step) is None
    monkeypatch.setitem(ABILITIES, closer.name, closer)
    assert recorded.picture(step) is not None


CALLS: dict[str, dict[str, Any]] = {
    "find_regions": {"phrases": ["flag"]},
    "segment_regions": {"points": [[410, 240]]},
    "segment_everything": {},
    "add_region": {"box": [1, 2, 30, 40]},
    "list_regions": {},
    "ask_about_regions": {"question": "What is <region1>?"},
    "ask_each_region": {"question": "What is <region>?"},
    "choose_answer": {"question": "What is <region1>?", "options": ["a cup", "an umbrella"]},
    "compare_regions": {"first": "region1", "second": "region1"},
    "order_regions": {"order": "left to right"},
    "select_regions": {"place": "middle"},
    "count_regions": {},
    "look_at_image": {},
    "zoom_in": {"region": "region1"},
}


@pytest.fixture(scope="module")
def toolboxes() -> Any:
    models = load_models()
    return lambda workspace: Toolbox(workspace, models)


@pytest.mark.parametrize("name", ABILITIES)
def test_what_a_tool_adds_is_what_it_declares(toolboxes: Any, workspace: Workspace, name: str) -> None:
    before = len(workspace.images), len(workspace.regions())
    reply = toolboxes(workspace).call(name, CALLS[name])
    assert reply.error is None
    images, regions = len(workspace.images) - before[0], len(workspace.regions()) - before[1]
    added = (*(["images"] if images else []), *(["regions"] if regions else []))
    assert added == ABILITIES[name].changes
