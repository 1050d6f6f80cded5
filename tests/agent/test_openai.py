"""The agent with a planner behind OpenAI's API: the unmodified packages, and a server process that speaks the protocol."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from roi_agent import build_agent, load_detector, load_region_model
from roi_agent.agent.agent import Agent
from roi_agent.agent.events import Approval, Finished, Words
from roi_agent.agent.result import Budget, Price
from roi_agent.model.errors import PlannerFailed
from roi_agent.tools.toolbox import tool_names
from tests.chat_server import ChatServer, Reply, call, calls, find, says
from tests.commands import Runner

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
KEY = "sk-a-key-nobody-may-see"
TASK = "What colour is the umbrella?"


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {"region_model": load_region_model(), "detector": load_detector()}


def agent_of(server: ChatServer, models: dict[str, Any], model: str, **options: Any) -> Agent:
    return build_agent(f"openai:{model}", base_url=server.url, api_key=KEY, **models, **options)


def ask(question: str) -> dict[str, Any]:
    return call("ask_about_regions", question=question)


def story(server: ChatServer) -> str:
    """Find, ask, answer."""
    return server.script(calls(find("umbrella")), calls(ask("What colour is <region1>?")), says("orange (region1)"))


def pictures(asked: dict[str, Any]) -> list[str]:
    """The addresses of all pictures in a request."""
    parts = [part for message in asked["messages"] if isinstance(message["content"], list) for part in message["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def test_tools_are_called_and_their_replies_lead_to_the_answer(server: ChatServer, models: dict[str, Any]) -> None:
    model = story(server)
    result = agent_of(server, models, model, price=Price(2.0, 10.0)).run(SCENE, TASK)
    assert (result.status, result.answer, result.doubts) == ("answered", "orange (region1)", ())
    assert [(each.name, each.label) for each in result.regions] == [("region1", "umbrella")]
    assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.planner_turns) == (300, 30, 3)
    assert result.cost == pytest.approx(300 * 2e-6 + 30 * 10e-6)
    assert [step.name for step in result.trace.steps] == [model, "find_regions", model, "ask_about_regions", model]
    first, _, last = server.requests(model)
    assert {tool["function"]["name"] for tool in first["tools"]} >= set(tool_names(["detect", "ask", "measure"]))
    assert first["messages"][0]["role"] == "system" and TASK in json.dumps(first["messages"][-1])
    found, told = [message["content"] for message in last["messages"] if message["role"] == "tool"]
    assert "region1" in found and told.startswith("orange")
    assert server.complaints(model) == []


def test_calls_in_one_message_run_in_their_order(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(calls(find("umbrella"), find("flag"), call("count_regions")), says("3 (region1, region2, region3)"))
    result = agent_of(server, models, model).run(SCENE, "How many umbrellas and flags are there?")
    assert [each.label for each in result.regions] == ["umbrella", "flag", "flag"]
    tools = [step for step in result.trace.steps if step.kind == "tool"]
    assert [step.arguments.get("phrases") for step in tools] == [["umbrella"], ["flag"], None]
    answered = [message["tool_call_id"] for message in server.requests(model)[1]["messages"] if message["role"] == "tool"]
    assert len(answered) == len(set(answered)) == 3 and server.complaints(model) == []


def test_words_arrive_while_they_are_written(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(calls(find("umbrella")), says("The umbrella is orange, as far as I can see (region1)"))
    *events, last = agent_of(server, models, model).stream(SCENE, TASK)
    words = [event.text for event in events if isinstance(event, Words)]
    assert len(words) > 5 and "".join(words) == "The umbrella is orange, as far as I can see (region1)"
    assert isinstance(last, Finished) and last.result.said == "".join(words)
    assert last.result.usage.input_tokens == 200  # which a stream tells only where it is asked to
    assert all(request["stream"] for request in server.requests(model)) and server.complaints(model) == []


class Colours(BaseModel):
    """What the things look like."""

    things: int = Field(ge=0)
    colours: list[str]


def test_an_answer_comes_in_the_form_asked_for(server: ChatServer, models: dict[str, Any]) -> None:
    given = call("Colours", things=1, colours=["orange"])
    model = server.script(calls(find("umbrella")), calls(given))
    result = agent_of(server, models, model).run(SCENE, TASK, answer_as=Colours)
    assert result.data == Colours(things=1, colours=["orange"]) and result.status == "answered"
    assert "Colours" in {tool["function"]["name"] for tool in server.requests(model)[0]["tools"]}


def test_a_form_filled_in_wrongly_is_filled_in_again(server: ChatServer, models: dict[str, Any]) -> None:
    wrong, right = call("Colours", things=-1, colours="orange"), call("Colours", things=1, colours=["orange"])
    model = server.script(calls(find("umbrella")), calls(wrong), calls(right))
    result = agent_of(server, models, model).run(SCENE, TASK, answer_as=Colours)
    assert result.data == Colours(things=1, colours=["orange"])
    assert "greater than or equal to 0" in str(server.requests(model)[2]["messages"][-1]["content"])
    assert server.complaints(model) == []


def test_words_in_place_of_a_form_are_said_to_be_none(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(calls(find("umbrella")), says("orange (region1)"), then=says("orange (region1)"))
    result = agent_of(server, models, model, budget=Budget(steps=6)).run(SCENE, TASK, answer_as=Colours)
    assert (result.status, result.data) == ("partial", None) and "not an instance of Colours" in result.answer


def test_planners_that_see_get_the_numbered_picture_and_keep_none(server: ChatServer, models: dict[str, Any]) -> None:
    model = story(server)
    agent = agent_of(server, models, model, planner_sees=True)
    agent.run(SCENE, TASK, thread="seen")
    shown = [pictures(request) for request in server.requests(model)]
    assert [len(each) for each in shown] == [1, 1, 1]
    assert all(each[0].startswith("data:image/png;base64,") for each in shown)
    assert shown[0] != shown[1]  # the second has the region drawn
    server.script(says("orange"), name=model)
    agent.run(None, "And now?", thread="seen")
    assert len(pictures(server.requests(model)[0])) == 1 and server.complaints(model) == []


def test_planners_that_read_get_words_alone(server: ChatServer, models: dict[str, Any]) -> None:
    model = story(server)
    agent_of(server, models, model, planner_sees=False).run(SCENE, TASK)
    assert [pictures(request) for request in server.requests(model)] == [[], [], []]
    assert "base64" not in json.dumps(server.requests(model))


def test_a_conversation_continues_after_a_restart(server: ChatServer, models: dict[str, Any], tmp_path: Path) -> None:
    model = story(server)
    agent_of(server, models, model, folder=tmp_path).run(SCENE, TASK, thread="walk")
    server.script(calls(ask("Is <region1> small?")), says("no (region1)"), name=model)
    result = agent_of(server, models, model, folder=tmp_path).run(None, "Is it small?", thread="walk")
    assert result.said == "no (region1)" and result.usage.planner_turns == 2
    roles = [message["role"] for message in server.requests(model)[0]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "assistant", "user"]
    assert server.complaints(model) == []


def test_approvals_wait_through_a_restart(server: ChatServer, models: dict[str, Any], tmp_path: Path) -> None:
    model = server.script(calls(find("umbrella"), call("count_regions")))
    waiting = agent_of(server, models, model, folder=tmp_path, approve=["detect"]).run(SCENE, TASK, thread="asked")
    assert (waiting.status, waiting.waiting) == ("waiting", (Approval("find_regions", {"phrases": ["umbrella"]}),))
    server.script(calls(find("umbrella")), says("I may not look for it"), name=model)
    again = agent_of(server, models, model, folder=tmp_path, approve=["detect"])
    asked_again = again.resume("asked", [False])
    assert asked_again.status == "waiting"
    assert "find_regions was not approved" in json.dumps(server.requests(model)[0]["messages"])
    assert again.resume("asked", [{"phrases": ["flag"]}]).said == "I may not look for it"
    assert [each.label for each in again.workspace("asked").regions()] == ["flag", "flag"]
    assert server.complaints(model) == []


def test_long_conversations_are_summarised_and_the_summary_is_paid_for(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(says("blah blah " * 14_000), says("They spoke of umbrellas.", usage=(7000, 70)), says("orange"))
    agent = agent_of(server, models, model)
    agent.run(SCENE, "Go on.", thread="long")
    result = agent.run(None, TASK, thread="long")
    assert result.said == "orange" and (result.usage.input_tokens, result.usage.output_tokens) == (7100, 80)
    summing, after = server.requests(model)[-2:]
    assert "tools" not in summing and "They spoke of umbrellas." in json.dumps(after["messages"])
    assert "blah" in json.dumps(summing) and "blah" not in json.dumps(after)
    assert server.complaints(model) == []


def test_a_summary_that_hangs_ends_with_the_budget(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(says("blah blah " * 14_000), says("They spoke.", wait_s=8.0))
    agent = agent_of(server, models, model, budget=Budget(seconds=1.5))
    agent.run(SCENE, "Go on.", thread="long")
    begun = time.monotonic()
    result = agent.run(None, TASK, thread="long")
    assert time.monotonic() - begun < 4 and result.status == "partial" and "within the budget of 1.5 seconds" in result.answer


def test_runs_are_awaited_side_by_side(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(then=says("nothing", wait_s=0.5))
    agent = agent_of(server, models, model)

    async def both() -> list[str]:
        results = await asyncio.gather(*[agent.arun(SCENE, TASK) for _ in range(4)])
        return [result.said for result in results]

    begun = time.monotonic()
    assert asyncio.run(both()) == ["nothing"] * 4
    assert time.monotonic() - begun < 1.8  # and not four times half a second with what is around them


def test_a_run_that_is_cancelled_lets_go_of_its_thread(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(says("too late", wait_s=8.0))
    agent = agent_of(server, models, model)

    async def given_up() -> None:
        await asyncio.wait_for(agent.arun(SCENE, TASK, thread="t"), timeout=0.5)

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(given_up())
    server.script(says("in time"), name=model)
    assert agent.run(None, TASK, thread="t").said == "in time"
    assert time.monotonic() - begun < 4


class Heard(BaseCallbackHandler):
    """Counts what LangChain tells: models, tools, and the tokens of a model."""

    def __init__(self) -> None:
        self.models, self.tools, self.tokens, self.words = 0, list[str](), 0, 0

    def on_chat_model_start(self, *given: Any, **more: Any) -> None:
        self.models += 1

    def on_llm_new_token(self, token: Any, **more: Any) -> None:
        self.words += 1

    def on_llm_end(self, response: Any, **more: Any) -> None:
        self.tokens += response.generations[0][0].message.usage_metadata["input_tokens"]

    def on_tool_start(self, serialized: dict[str, Any], *given: Any, **more: Any) -> None:
        self.tools.append(serialized["name"])


def test_langchains_callbacks_hear_a_remote_planner(server: ChatServer, models: dict[str, Any]) -> None:
    heard = Heard()
    agent_of(server, models, story(server)).run(SCENE, TASK, config={"callbacks": [heard], "tags": ["mine"]})
    assert (heard.models, heard.tools, heard.tokens) == (3, ["find_regions", "ask_about_regions"], 300)
    for _ in agent_of(server, models, story(server)).stream(SCENE, TASK, config={"callbacks": [heard]}):
        pass
    assert heard.models == 6 and heard.words > 5


def test_any_chat_model_of_langchain_plans(server: ChatServer, models: dict[str, Any]) -> None:
    chat = ChatOpenAI(model=story(server), base_url=server.url, api_key=KEY, temperature=0.2)  # type: ignore[arg-type]
    result = build_agent(chat, **models).run(SCENE, TASK)
    assert result.said == "orange (region1)" and result.trace.planner == chat.model_name
    assert server.requests(chat.model_name)[0]["temperature"] == 0.2


@pytest.mark.parametrize(
    "reply,said",
    [
        (Reply(status=401, body={"error": {"message": f"no such key: {KEY}"}}), "check the key"),
        (Reply(status=404, body={"error": {"message": "no such model"}}), "check the model's name and the address"),
        (Reply(status=400, body={"error": {"message": "no tools here"}}), "try another model"),
    ],
    ids=["key", "model", "request"],
)
def test_a_refusal_of_the_server_says_what_to_do(server: ChatServer, models: dict[str, Any], reply: Reply, said: str) -> None:
    agent = agent_of(server, models, server.script(then=reply))
    with pytest.raises(PlannerFailed, match=said) as raised:
        agent.run(SCENE, TASK)
    assert KEY not in str(raised.value)


def test_what_was_found_outlives_the_planner(server: ChatServer, models: dict[str, Any]) -> None:
    model = server.script(calls(find("umbrella")), then=Reply(status=500, body={}, headers={"retry-after-ms": "5"}))
    result = agent_of(server, models, model).run(SCENE, TASK)
    assert result.status == "partial" and "Found so far" in result.answer and "region1" in result.answer
    assert len(server.requests(model)) == 4  # the client tried three times


def test_the_command_takes_a_planner_behind_an_address(
    server: ChatServer, run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model, out = story(server), tmp_path / "out"
    done = run("run", str(SCENE), TASK, "--planner", f"openai:{model}", "--base-url", server.url, "--out", str(out), "--json")
    assert done.code == 0 and json.loads(done.out)["answer"] == "orange (region1)", done.err
    assert all(KEY not in file.read_text() for file in (out / "trace.json", out / "trace.html"))
