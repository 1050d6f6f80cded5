"""Finding, measuring and viewing without any region model; what needs one is refused with a code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from roi_agent import Workspace, build_agent, build_toolbox, load_region_model
from roi_agent.agent.agent import Agent
from roi_agent.loading import load_models
from roi_agent.model.errors import ModelNotFound
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.toolbox import Toolbox
from tests.commands import Runner
from tests.server.clients import DATA_URL, messages

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
ASKING: dict[str, dict[str, Any]] = {
    "ask_about_regions": {"question": "What is <region1>?"},
    "ask_each_region": {"question": "What is <region>?"},
    "choose_answer": {"question": "What is <region1>?", "options": ["a cup", "a ball"]},
}
OTHERS: dict[str, dict[str, Any]] = {
    "find_regions": {"phrases": ["flag"]},
    "segment_regions": {"points": [[200, 230]]},
    "list_regions": {},
    "compare_regions": {"first": "region1", "second": "region2"},
    "order_regions": {"order": "left to right"},
    "select_regions": {"place": "top"},
    "count_regions": {},
    "look_at_image": {},
    "zoom_in": {"region": "region1"},
}


@pytest.fixture(scope="module")
def agent() -> Agent:
    return build_agent(region_model=None)


@pytest.fixture(scope="module")
def toolbox() -> Toolbox:
    workspace = Workspace()
    workspace.add_image(SCENE)
    made = build_toolbox(workspace, region_model=None)
    assert made.call("find_regions", {"phrases": ["umbrella", "flag"]}).error is None
    return made


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("Is there an umbrella?", "yes (region1)"),
        ("Is there a star?", "no, no star was found"),
        ("How many flags are there?", "two (region1, region2)"),
        ("Find the umbrella.", "umbrella (region1)"),
        ("Which is larger, the umbrella or the car?", "umbrella (region1)"),
        ("Where is the umbrella?", "middle (region1)"),
        ("Is the umbrella left of the yellow square?", "yes (region1, region2)"),
        ("What is the leftmost flag?", "flag (region1)"),
        ("Are there more squares than flags?", "yes, squares: three, flags: two (region1, region2, region3, region4, region5)"),
    ],
)
def test_things_are_found_counted_ordered_and_measured(agent: Agent, task: str, said: str) -> None:
    result = agent.run(SCENE, task)
    assert (result.status, result.said, result.doubts, result.confidence) == ("answered", said, (), None)


@pytest.mark.parametrize(
    "task", ["What colour is the umbrella?", "Is the umbrella red?", "How many small flags are there?", "Why is <region1> here?"]
)
def test_what_needs_a_region_model_is_refused(agent: Agent, task: str) -> None:
    result = agent.run(SCENE, task, regions=[[123, 194, 303, 377]])
    assert result.status == "refused" and "region model" in result.answer


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_tools_work(toolbox: Toolbox, name: str) -> None:
    assert name in toolbox.names and toolbox.call(name, OTHERS[name]).error is None


@pytest.mark.parametrize("name", ASKING)
def test_tools_that_ask_are_left_out_and_say_why_where_they_are_called(toolbox: Toolbox, name: str) -> None:
    assert name not in toolbox.names
    reply = toolbox.call(name, ASKING[name])
    assert reply.error == "model_not_found" and "no model for the role ask" in reply.text


@pytest.mark.parametrize("role", ["detector", "segmenter"])
def test_each_role_may_be_left_out(role: str) -> None:
    left_out: dict[str, Any] = {role: None}
    names = build_toolbox(**left_out).names
    assert ("find_regions" in names, "segment_regions" in names) == (role != "detector", role != "segmenter")
    assert "ask_about_regions" in names


def test_the_region_model_that_there_is_not_refuses_every_question() -> None:
    model = load_region_model(None)
    for work in (
        lambda: model.ask(SCENE, "What is <region1>?", [[0, 0, 9, 9]]),
        lambda: model.stream(SCENE, "What is <region1>?", [[0, 0, 9, 9]]),
        lambda: model.choose(SCENE, "What is <region1>?", ["a", "b"], [[0, 0, 9, 9]]),
    ):
        with pytest.raises(ModelNotFound, match="there is no region model"):
            work()


def test_commands_take_none_as_a_region_model(run: Runner) -> None:
    done = run("run", str(SCENE), "How many flags are there?", "--model", "none")
    assert done.code == 0 and done.out.startswith("two (region"), done.err
    refused = run("ask", str(SCENE), "What is <region1>?", "--box", "1,2,30,40", "--model", "none")
    assert refused.code == 2 and "model_not_found: there is no region model" in refused.err


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = build_app(load_models(region_model="none"), ServerSettings(), name="none")
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as made:
        yield made


def test_a_server_without_a_region_model_finds_and_refuses_questions(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200
    found = client.post("/v1/detect", json={"image": DATA_URL, "phrases": ["flag"]}).json()
    assert len(found["regions"]) == 2
    chat = client.post("/v1/chat/completions", json={"model": "none", "messages": messages("What is this?")})
    assert (chat.status_code, chat.json()["error"]["code"]) == (404, "model_not_found")
    question = {"turns": [{"question": "What is <region1>?"}], "regions": [{"box": [0, 0, 9, 9]}]}
    batch = client.post("/v1/regions/ask", json={"image": DATA_URL, "questions": [question]})
    assert batch.json()["error"]["code"] == "model_not_found"
