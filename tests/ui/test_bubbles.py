"""What stands in the chat when a model says nothing or fails: words, never an empty bubble or a confidence of nothing."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from roi_agent.agent.planners import load_planner
from roi_agent.loading import load_models
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.ui import drawing
from roi_agent.ui.actions import Actions
from roi_agent.ui.visitors import Visitors
from tests.chat_server import chat_server, says
from tests.ui.visit import NAME, UMBRELLA, at_once, drawn, last, opened, said


class Own(RegionModel):
    """A user's region model.  text, confidence: of its answers.  error: that it raises in place of one."""

    def __init__(self, text: str = "", confidence: Any = 0.0, error: Exception | None = None) -> None:
        self.text, self.confidence, self.error = text, confidence, error

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        if self.error is not None:
            raise self.error
        return Answer(self.text, self.confidence, tuple(regions), Usage(0, 0), Timing(0.0, 0.0, False), ("a note",))

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        raise AssertionError("nobody chooses here")


def actions_of(visitors: Visitors, model: RegionModel, planner: Any = None) -> Actions:
    return Actions(visitors, load_models(region_model=model), planner or load_planner("offline"), at_once)


@pytest.mark.parametrize(
    ("model", "begins", "ends"),
    [
        (Own(""), "*The model gave no answer.*", "<small>about [region1](#region1) · a note</small>"),
        (Own(" \n\t"), "*The model gave no answer.*", "<small>about [region1](#region1) · a note</small>"),
        (Own("", None), "*The model gave no answer.*", "· a note</small>"),
        (Own("a cup", 0.25), "a cup", "· confidence 0.25 · a note</small>"),
        (Own("a cup", 0.0), "a cup", "· confidence 0.00 · a note</small>"),
        (Own("a cup", None), "a cup", "<small>about [region1](#region1) · a note</small>"),
        (Own(error=ValueError("no route")), "**model failed**: the region model failed: ValueError: no route", "use another one"),
        (Own(error=MemoryError()), "**model failed**: the region model failed: MemoryError", "use another one"),
    ],
    ids=["empty", "blank", "no confidence", "sound", "unsure", "words alone", "broken", "memory"],
)
def test_the_models_bubble_says_what_came(visitors: Visitors, model: Own, begins: str, ends: str) -> None:
    actions = actions_of(visitors, model)
    work = opened(actions)
    drawing.edit(work, drawn(UMBRELLA))
    said(actions, "What is this?")
    assert last(work).startswith(begins) and last(work).endswith(ends)
    assert len(work.messages) == 2 and [turn.answer for turn in work.turns] in ([], ["a cup"])


def test_a_visitor_who_leaves_while_the_model_writes_leaves_no_empty_bubble(actions: Actions) -> None:
    work = opened(actions)
    drawing.edit(work, drawn(UMBRELLA))
    talk = actions.talk(NAME, "What is region1?", "model")
    next(talk)
    talk.close()
    assert last(work).endswith("<small>stopped</small>") and last(work).strip() and work.turns == []


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_the_agents_bubble_says_that_there_is_no_answer(visitors: Visitors, text: str) -> None:
    with chat_server() as chat:
        model = chat.script(says(text), says(text), says(text), says(text))
        actions = actions_of(visitors, Own("a cup", None), load_planner(f"openai:{model}", base_url=chat.url))
        work = opened(actions)
        said(actions, "What is there?", "agent")
    assert re.match(r"\w", last(work)) and "confidence" not in last(work)
    assert "<small>stopped before an answer</small>" in last(work)
    assert all(str(each["content"]).strip() for each in work.messages)


def test_an_agent_that_breaks_says_so(visitors: Visitors) -> None:
    actions = actions_of(visitors, Own("a cup"), load_planner("openai:none", base_url="http://127.0.0.1:9/v1"))
    work = opened(actions)
    said(actions, "What is there?", "agent")
    assert last(work).startswith("**planner failed**") and len(work.messages) == 2
