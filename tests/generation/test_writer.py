"""A chat model as writer, over a real HTTP server: sound questions are kept, and whatever else it gives hurts nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from roi_agent import load_detector, load_region_model
from roi_agent.agent.planners import load_planner
from roi_agent.generation.chat_writer import ChatWriter
from roi_agent.generation.examiner import CHOOSE, DESCRIPTION
from roi_agent.generation.record_generator import ImageResult, RecordGenerator
from roi_agent.generation.settings import GenerationSettings
from roi_agent.generation.verifier import FAILED, GEOMETRY, MALFORMED, REPEATED, UNKNOWN, UNSUPPORTED
from roi_agent.model.errors import PlannerFailed
from roi_agent.model.images.loading import load_image
from roi_agent.model.toy.world.scenes import make_scene, render_image
from tests.chat_server import ChatServer, Reply, call, calls, says
from tests.scene_truth import is_true

SEED = 700_002  # a scene of eight things
PICTURE = load_image(render_image(make_scene(SEED), 384))
KIND = "kind of thing"


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, Any]]:
    yield {"model": load_region_model(), "detector": load_detector(), "segmenter": None}


def written(*questions: Any) -> Reply:
    return calls(call("Questions", questions=list(questions)))


def turn(question: str, answer: str, about: str, *regions: str, value: str = "", holds: bool = True) -> dict[str, Any]:
    claim = {"about": about, "regions": list(regions), "value": value, "holds": holds}
    return {"question": question, "answer": answer, "claims": [claim]}


def one(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"turns": list(turns)}


def make(
    server: ChatServer, models: dict[str, Any], *replies: Reply, images: int = 1
) -> tuple[list[ImageResult], list[dict[str, Any]]]:
    name = server.script(*replies)
    writer = ChatWriter(load_planner(f"openai:{name}", base_url=server.url))
    generator = RecordGenerator(**models, settings=GenerationSettings(everything=False, images=1), writer=writer)
    try:
        made = [generator.generate([(str(SEED), PICTURE)])[0] for _ in range(images)]
    finally:
        generator.close()
    assert not server.complaints(name)
    return made, server.requests(name)


@pytest.fixture(scope="module")
def known(models: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Every region's handle, kind and colour, as the writer is told them."""
    from roi_agent import Workspace
    from roi_agent.generation.describing import describe
    from roi_agent.generation.finding import find
    from roi_agent.generation.vocabulary import Vocabulary

    workspace, vocabulary = Workspace(), Vocabulary.known_to(models["detector"])
    image = workspace.add_image(PICTURE)
    (regions,) = find(workspace, [image], vocabulary.kinds, detector=models["detector"], segmenter=None)
    things = describe(workspace, regions, vocabulary, model=models["model"])
    return [(each.region.name, each.kind.text, each.colour.text) for each in things]


def test_the_writer_sees_words_only_and_what_it_writes_well_is_kept(
    server: ChatServer, models: dict[str, Any], known: list[tuple[str, str, str]]
) -> None:
    (name, kind, colour), (other, other_kind, _) = known[0], known[1]
    why = turn("Why?", f"<{name}> is a {kind}", "kind", name, value=kind)
    reply = written(
        one(turn(f"What kind of thing is {name}?", f"a {kind}", "kind", f"<{name}>", value=kind.upper())),
        one(turn(f"Is there a {colour} {kind} in <{name}>?", "yes", "colour", name, value=colour)),
        one(turn(f"Is there a {kind} in <{name}>?", "yes", "kind", name, value=kind), why),
        one(turn(f"What is in <{other}>?", f"a {other_kind}", "kind", other, value=other_kind)),
    )
    (made,), (request,) = make(server, models, reply)
    assert made.written == len(made.records) == 4, made.dropped
    assert all(is_true_of(record, made) for record in made.records[:1])
    why_record = made.records[2]
    assert len(why_record.turns) == 2 and why_record.turns[1].answer == f"<{why_record.regions[0].name}> is a {kind}"
    assert all(record.evidence for record in made.records)
    said = json.dumps(request["messages"])
    assert "image_url" not in said and "base64" not in said
    assert all(f"<{handle}>: kind '{word}', colour '{shade}'" in said for handle, word, shade in known)
    assert "left of" in said and "Write 12 questions" in said


def is_true_of(record: Any, _: ImageResult) -> bool:
    """By the scene: "a star" is read as its kind."""
    from dataclasses import replace

    turns = tuple(replace(each, answer=each.answer.removeprefix("an ").removeprefix("a ")) for each in record.turns)
    return is_true(replace(record, turns=turns), make_scene(SEED))


def test_every_bad_question_is_dropped_for_its_reason_and_costs_no_other(
    server: ChatServer, models: dict[str, Any], known: list[tuple[str, str, str]]
) -> None:
    (name, kind, colour), (other, *_) = known[0], known[1]
    wrong_colour = "green" if colour != "green" else "red"
    good = one(turn(f"What kind of thing is <{name}>?", kind, "kind", name, value=kind))
    cases = [
        (one(turn(f"What colour is <{name}>?", wrong_colour, "colour", name, value=wrong_colour)), DESCRIPTION),
        (one(turn("What is <region999>?", kind, "kind", "region999", value=kind)), UNKNOWN),
        (one(turn(f"What is <{name}>?", "something nice", "kind", name, value=kind)), UNSUPPORTED),
        (one(turn(f"Is there a {wrong_colour} {kind} in <{name}>?", "yes", "colour", name, value=colour)), CHOOSE),
        (one(turn(f"Is <{name}> left of <{name}>?", "yes", "left of", name, name)), MALFORMED),
        ({"turns": []}, MALFORMED),
        ({"turns": "none"}, MALFORMED),
        ({"question": "What?"}, MALFORMED),
        (one({"question": f"What is <{name}>?", "answer": kind}), MALFORMED),
        (one(turn(f"Is <{name}> {'very ' * 2000}{colour}?", "yes", "colour", name, value=colour)), CHOOSE),
        (good, REPEATED),
    ]
    (made,), _ = make(server, models, written(good, *(case for case, _ in cases)))
    assert [each.reason for each in made.dropped] == [reason for _, reason in cases]
    assert len(made.records) == 1 and made.written == 1 + len(cases)
    both = [one(turn(f"Is <{a}> left of <{b}>?", "yes", "left of", a, b)) for a, b in ((name, other), (other, name))]
    (sides,), _ = make(server, models, written(*both))
    assert len(sides.records) <= 1 and {each.reason for each in sides.dropped} <= {GEOMETRY, "geometry_unclear"}
    assert GEOMETRY in {each.reason for each in sides.dropped} or len(sides.dropped) == 2


@pytest.mark.parametrize(
    "reply",
    [
        says("I would rather not."),
        calls(call("Questions", "{not json")),
        calls(call("Questions", questions="many")),
        calls(call("another_tool", questions=[])),
        Reply(body={"choices": []}),
        Reply(body="<html>"),
        Reply(message={"tool_calls": 7}),
    ],
)
def test_a_writer_that_cannot_be_read_costs_its_image_alone(server: ChatServer, models: dict[str, Any], reply: Reply) -> None:
    (first, second), _ = make(server, models, reply, written({"turns": []}), images=2)
    assert [each.reason for each in first.dropped] == [MALFORMED] and not first.records
    assert [each.reason for each in second.dropped] == [MALFORMED]


def test_a_writer_that_fails_now_and_then_is_counted(server: ChatServer, models: dict[str, Any]) -> None:
    trouble = Reply(status=500, headers={"x-should-retry": "false"})
    made, _ = make(server, models, trouble, written({"turns": []}), images=2)
    assert [[each.reason for each in image.dropped] for image in made] == [[FAILED], [MALFORMED]]


def test_a_writer_that_always_fails_or_refuses_ends_the_run(server: ChatServer, models: dict[str, Any]) -> None:
    trouble = Reply(status=500, headers={"x-should-retry": "false"})
    with pytest.raises(PlannerFailed):
        make(server, models, *[trouble] * 5, images=5)
    with pytest.raises(PlannerFailed, match="key"):
        make(server, models, Reply(status=401))
