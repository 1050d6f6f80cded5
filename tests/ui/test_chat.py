"""The page's chat, with the model and with the agent, what it finds by words and points, and how it is written."""

import io

import pytest
from PIL import Image

from roi_agent.agent.planners import load_planner
from roi_agent.lanes import Job
from roi_agent.loading import load_models
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.tools.models import Models
from roi_agent.ui import chat, drawing, markup
from roi_agent.ui.actions import Actions
from roi_agent.ui.visitors import Visitors
from roi_agent.ui.work import Work
from tests.ui.visit import NAME, SQUARE, UMBRELLA, T, at_once, drawn, last, names, opened, said

# -- finding and talking


async def test_finding_by_words_and_by_a_point(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn((0, 0, 50, 50)))
    seen = await actions.find(NAME, "orange umbrella")
    assert seen.status is not None and "1 found in image1: region2 (orange umbrella" in seen.status
    assert names(work) == ["region1", "region2"]
    bare = drawing.picture(work)
    first = drawing.marks(work)
    await actions.point(NAME, (410, 240))
    assert names(work)[-1] == "region3" and work.regions[-1].mask is not None
    assert drawing.marks(work)["picture"].endswith("-region3") and drawing.picture(work).tobytes() != bare.tobytes()
    assert all(drawing.marks(work)[name] != first[name] for name in ("picture", "drawn"))
    assert work.regions[-1].box.xyxy == pytest.approx(SQUARE, abs=12)
    assert max(drawing.drawn(work).size) <= drawing.SIDE
    for act in (actions.find(NAME, "  "), actions.point(NAME, (2000, 5)), actions.find("f" * 32, "umbrella")):
        seen = await act
        assert seen.status is not None and 'role="alert"' in seen.status and "\n" not in seen.status


def test_the_chat_streams_and_continues_over_turns(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    grown = []
    for seen in actions.talk(NAME, "What is this?", "model"):
        assert seen.work is work
        grown.append(last(work))
    assert len(set(grown)) > 3 and grown[-1].startswith("a large orange umbrella") and "about [region1]" in grown[-1]
    drawing.edit(work, drawn(UMBRELLA, SQUARE, labels=("region1",)))
    said(actions, "Is region1 left of <region2>?")
    assert last(work).startswith("yes")
    said(actions, "Why?")
    assert last(work).startswith("[region1](#region1) is at the left of [region2](#region2)")
    said(actions, "What is region2?")
    assert last(work).startswith("a large yellow square") and len(work.messages) == 8
    actions.restart(NAME)
    assert work.messages == [] and work.turns == [] and names(work) == ["region1", "region2"]


@pytest.mark.parametrize(
    "text", ["What is <Region1>?", "What is <1>?", "What is <region_01/>?", "What is Region 1?", "What is region1?"]
)
def test_a_region_may_be_named_in_many_ways(actions: Actions, work: Work, text: str) -> None:
    drawing.edit(work, drawn(UMBRELLA, SQUARE))
    said(actions, text)
    assert last(work).startswith("a large orange umbrella") and work.turns[0].question == "What is <region1>?"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("What is <star>?", "**unknown region**: the question names &lt;star&gt;"),
        ("What is <region>?", "**unknown region**"),
        ("What is <7>?", "**unknown region**"),
        ("What are regions 1 and 2?", "**invalid setting**: the question names regions 1 without brackets"),
    ],
)
def test_an_invalid_mention_is_reported_and_not_asked(actions: Actions, work: Work, text: str, told: str) -> None:
    drawing.edit(work, drawn(UMBRELLA, SQUARE))
    said(actions, text)
    assert last(work).startswith(told) and len(work.messages) == 2 and work.turns == []


@pytest.mark.parametrize(("boxes", "whole"), [((), True), ((UMBRELLA,), False), ((UMBRELLA, SQUARE), True)])
def test_a_question_that_names_no_region_says_what_it_was_asked_about(
    actions: Actions, work: Work, boxes: tuple[tuple[float, ...], ...], whole: bool
) -> None:
    drawing.edit(work, drawn(*boxes))
    said(actions, "What is this?")
    assert ("asked about the whole image" in last(work), "about [region1]" in last(work)) == (whole, not whole)
    assert len(work.turns) == 1
    said(actions, "Why?")
    assert ("asked about the whole image" in last(work)) == whole and not last(work).startswith("**")


def test_without_a_region_model_the_agent_works_and_a_question_says_that_there_is_none(visitors: Visitors) -> None:
    actions = Actions(visitors, load_models(region_model=None), load_planner("offline"), at_once)
    work = opened(actions)
    said(actions, "How many flags are there?", "agent")
    assert last(work).startswith("two")
    said(actions, "What is this?")
    assert last(work).startswith("**model not found**: there is no region model") and work.turns == []


@pytest.mark.parametrize(("text", "told"), [("", "the question is empty"), ("x" * 2001, "2001 characters")])
@pytest.mark.parametrize("mode", ["model", "agent"])
def test_questions_that_cannot_be_asked_are_reported_in_one_line(
    actions: Actions, work: Work, text: str, told: str, mode: str
) -> None:
    said(actions, text, mode)
    assert told in last(work) and last(work).startswith("**invalid setting**") and len(work.messages) == 1


def test_a_failed_question_leaves_the_conversation(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    said(actions, "What is region1?")
    before = list(work.turns)
    said(actions, "What is region7?")
    assert last(work).startswith("**unknown region**") and "region1" in last(work)
    assert work.turns == before


def test_an_answer_that_is_stopped_stays_as_far_as_it_was_written_and_is_no_part_of_the_conversation(
    actions: Actions, work: Work
) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    for _ in range(20):  # the answer may be there before the visitor's wish is
        actions.restart(NAME)
        talk = actions.talk(NAME, "What is region1?", "model")
        next(talk)
        while last(work) == "" or "What" in last(work):
            next(talk)
        actions.stop(NAME)
        ending = list(talk)[-1]
        if "stopped" in last(work):
            break
    assert last(work).startswith("a") and last(work).endswith("<small>stopped</small>") and "umbrella" not in last(work)
    assert work.turns == [] and not ending.streaming
    actions.stop(NAME)  # nothing goes on
    said(actions, "What is region1?")
    assert last(work).startswith("a large orange umbrella")


def test_an_agent_that_is_stopped_reports_its_finds(actions: Actions, work: Work) -> None:
    talk = actions.talk(NAME, "What colour is the largest thing right of the umbrella?", "agent")
    next(talk)
    while not any("metadata" in each for each in work.messages):
        next(talk)
    actions.stop(NAME)
    list(talk)
    assert "it was cancelled. Found so far" in last(work) and len(work.messages) < 7 and work.trace is not None


@pytest.mark.parametrize("mode", ["model", "agent"])
def test_an_answer_ends_where_another_image_is_opened_meanwhile(actions: Actions, work: Work, mode: str) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    talk = actions.talk(NAME, "What is region1?", mode)
    assert next(talk).work is work
    other = opened(actions, scene=1)
    assert list(talk) == [] and other.messages == []


async def test_what_is_found_in_an_image_that_is_no_longer_open_is_not_shown(models: Models, visitors: Visitors) -> None:
    async def lane(job: Job[T]) -> T:
        told = job()
        opened(actions, scene=1)
        return told

    actions = Actions(visitors, models, load_planner("offline"), lane)
    work = opened(actions)
    seen = await actions.find(NAME, "umbrella")
    assert names(work) == ["region1"] and seen.work is visitors.find(NAME) is not work and seen.status is None


def test_without_an_image_the_error_says_what_to_do(actions: Actions) -> None:
    (seen,) = said(actions, "What is region1?")
    assert seen.work is None and seen.status is not None and "no image is open" in seen.status


def test_the_agent_reports_its_steps_and_the_page_shows_the_evidence(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    said(actions, "What colour is the largest thing right of the umbrella?", "agent")
    titles = [each["metadata"]["title"] for each in work.messages if "metadata" in each]
    assert any("find" in title for title in titles) and last(work).startswith("yellow")
    shown = [each for each in work.messages if str(each["content"]).startswith("![Picture of step")]
    assert len(shown) == len(work.pictures) >= 2
    assert all(Image.open(io.BytesIO(data)).format == "JPEG" for data in work.pictures.values())
    assert work.trace is not None and names(work)[0] == "region1" and len(names(work)) == 1 + len(work.trace.regions)


def test_what_is_drawn_and_asked_about_while_the_agent_works_is_shown_afterwards(actions: Actions, work: Work) -> None:
    talk = actions.talk(NAME, "What colour is the largest thing right of the umbrella?", "agent")
    next(talk)
    while not any("metadata" in each for each in work.messages):
        next(talk)
    drawing.edit(work, drawn((20, 20, 90, 90)))
    work.settle()
    list(talk)
    assert (20, 20, 90, 90) in [region.box.xyxy for region in work.regions]


# -- what is shown

EVIL = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **b** `c`"


def test_what_others_say_is_never_markup() -> None:
    region = Region("region1", Box(0, 0, 9, 9), label='"><script>alert(1)</script>')
    for text in (
        markup.chips([region], highlighted=None, open_names=["region1"]),
        markup.chips([region], highlighted="region1", open_names=[]),
    ):
        assert "<script" not in text and "&lt;script&gt;" in text
    for text in (markup.plain(EVIL), markup.linked(EVIL), chat.error_markdown(InvalidSetting(EVIL, do=EVIL))):
        assert "<img" not in text and "](java" not in text and r"\`c" in text
    assert "<img" not in markup.status(EVIL) + markup.status(error=InvalidSetting(EVIL))
    assert markup.linked("is <region2> left of region10?") == "is [region2](#region2) left of [region10](#region10)?"


def test_an_empty_page_says_what_to_do() -> None:
    assert "drag a box" in markup.chips([], highlighted=None, open_names=[])
    assert "after the agent has run" in markup.files("/ui/files/x", trace=False)
    assert markup.status() == ""
