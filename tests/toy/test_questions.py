"""Questions about the toy world: their answers are the truth of the scene."""

from collections.abc import Callable
from random import Random

import pytest

from roi_agent.model.data.english import plural, with_article
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.questions.questions import FAMILY_NAMES, Example, make_example
from roi_agent.model.toy.world.relations import area, centre, place
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene


def examples(family: str, count: int = 150) -> list[tuple[Scene, Example]]:
    found = []
    for seed in range(4 * count):
        scene = make_scene(seed)
        example = make_example(scene, family, Random(seed))
        if example:
            found.append((scene, example))
    assert len(found) >= count / 2, f"few scenes offer {family}"
    return found[:count]


def pointed_at(scene: Scene, example: Example) -> dict[str, Thing]:
    return {name: scene.things[index] for name, index in example.regions}


def asked_about(scene: Scene, example: Example) -> list[Thing]:
    """The things that the first question is about."""
    return [pointed_at(scene, example)[name] for name in asked_names(example)]


def asked_names(example: Example) -> list[str]:
    """The handles that the first question mentions, others may be given besides; all of them where it mentions none."""
    return list(mentioned(example.turns[0].question)) or [name for name, _ in example.regions]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_mention_has_a_region_and_no_two_handles_share_a_thing(family: str) -> None:
    for scene, example in examples(family, 60):
        things = pointed_at(scene, example)
        for turn in example.turns:
            assert turn.answer
            assert set(mentioned(turn.question)) <= set(things)
        assert len({index for _, index in example.regions}) == len(example.regions)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_same_seed_gives_the_same_question(family: str) -> None:
    scene = make_scene(5)
    assert make_example(scene, family, Random(9)) == make_example(scene, family, Random(9))


@pytest.mark.parametrize("family", ["colour", "relation", "leftmost"])
def test_bystanders_are_given_only_where_questions_need_not_be_alone(family: str) -> None:
    def bystanders(alone: float) -> list[int]:
        given = [make_example(make_scene(seed), family, Random(seed), alone=alone) for seed in range(80)]
        return [len(each.regions) - len(asked_names(each)) for each in given if each]

    assert set(bystanders(alone=1)) == {0}
    assert set(bystanders(alone=0)) >= {0, 1, 2}


@pytest.mark.parametrize(
    ("family", "truth"),
    [
        ("colour", lambda thing: thing.colour),
        ("kind", lambda thing: thing.kind),
        ("size", lambda thing: thing.size),
        ("name", lambda thing: f"a {thing.size} {thing.colour} {thing.kind}"),
        ("place", place),
    ],
)
def test_questions_about_one_region_name_its_attribute(family: str, truth: object) -> None:
    assert callable(truth)
    for scene, example in examples(family):
        thing = asked_about(scene, example)[0]
        assert example.turns[0].answer == truth(thing)


@pytest.mark.parametrize(("word", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("above", 1, -1), ("below", 1, 1)])
def test_directions_compare_centres(word: str, axis: int, sign: int) -> None:
    checked = 0
    for scene, example in examples("relation", 300):
        question, answer = example.turns[0].question, example.turns[0].answer
        if f" {word}" not in question:
            continue
        a, b = (pointed_at(scene, example)[name] for name in mentioned(question))
        assert (answer == "yes") == ((centre(a)[axis] - centre(b)[axis]) * sign > 0)
        checked += 1
    assert checked > 20


def test_larger_and_smaller_compare_areas() -> None:
    for scene, example in examples("which_larger"):
        question = example.turns[0].question
        things = {name: pointed_at(scene, example)[name] for name in mentioned(question)}
        best = (max if "larger" in question else min)(things, key=lambda name: area(things[name]))
        assert example.turns[0].answer == best


@pytest.mark.parametrize(("family", "attribute"), [("same_colour", "colour"), ("same_kind", "kind")])
def test_sameness_compares_the_attribute(family: str, attribute: str) -> None:
    for scene, example in examples(family):
        a, b = asked_about(scene, example)
        assert (example.turns[0].answer == "yes") == (getattr(a, attribute) == getattr(b, attribute))


@pytest.mark.parametrize("family", ["count_colour", "count_kind"])
def test_counts_count(family: str) -> None:
    for scene, example in examples(family):
        question, things = example.turns[0].question.rstrip("?"), asked_about(scene, example)
        asked = question.split(" are ")[-1].split(": ")[0]
        truth = sum(asked in (thing.colour, plural(thing.kind)) for thing in things)
        assert example.turns[0].answer == COUNTS[truth], example


@pytest.mark.parametrize(
    ("relation", "measure"),
    [
        ("leftmost", lambda thing: -centre(thing)[0]),
        ("rightmost", lambda thing: centre(thing)[0]),
        ("topmost", lambda thing: -centre(thing)[1]),
        ("lowest", lambda thing: centre(thing)[1]),
        ("largest", area),
        ("smallest", lambda thing: -area(thing)),
    ],
)
def test_superlatives_name_the_extreme_region(relation: str, measure: Callable[[Thing], float]) -> None:
    for scene, example in examples(relation):
        things = {name: pointed_at(scene, example)[name] for name in asked_names(example)}
        assert relation in example.turns[0].question
        assert len(things) >= 2
        assert example.turns[0].answer == max(things, key=lambda name: measure(things[name]))


@pytest.mark.parametrize("family", ["which_colour", "which_kind", "which_thing"])
def test_which_one_names_the_only_one_that_fits_or_none(family: str) -> None:
    answers = []
    for scene, example in examples(family):
        question = example.turns[0].question
        things = {name: pointed_at(scene, example)[name] for name in asked_names(example)}
        asked = f"{question} ".replace("?", " ").replace(":", " ")
        looks = {
            "which_colour": lambda thing: f" is {thing.colour} ",
            "which_kind": lambda thing: f" is {with_article(thing.kind)} ",
            "which_thing": lambda thing: f" is {with_article(f'{thing.colour} {thing.kind}')} ",
        }[family]
        fits = [name for name, thing in things.items() if looks(thing) in asked]
        assert [example.turns[0].answer] == (fits or ["none of them"]), example
        answers.append(example.turns[0].answer)
    assert "none of them" in answers


def test_presence_is_honest_about_what_is_not_there() -> None:
    answers = set()
    for scene, example in examples("presence"):
        (thing,) = asked_about(scene, example)
        question, answer = example.turns[0].question.replace("?", " "), example.turns[0].answer
        there = f" {thing.kind} " in question and (
            f"{thing.colour} {thing.kind}" in question or f"{with_article(thing.kind)} " in question
        )
        assert (answer == "yes") == there, (thing, question)
        answers.add(answer)
    assert answers == {"yes", "no"}


def test_why_names_facts_of_the_regions_asked_about() -> None:
    for scene, example in examples("why"):
        reason, things = str(example.turns[1].answer), pointed_at(scene, example)
        assert any(name in reason for name in things) or reason.startswith("none of them")
        for name, thing in things.items():
            if f"{name} is {thing.colour} and" in reason:
                assert f"{name} is {thing.colour}" in reason


@pytest.mark.parametrize("family", ["relation", "larger", "same_colour", "same_kind", "presence", "touching"])
def test_yes_and_no_are_about_equally_frequent(family: str) -> None:
    answers = [example.turns[0].answer for _, example in examples(family, 300)]
    assert 0.35 < answers.count("yes") / len(answers) < 0.65


@pytest.mark.parametrize(
    ("kind", "many"), [("star", "stars"), ("fish", "fish"), ("cross", "crosses"), ("butterfly", "butterflies"), ("key", "keys")]
)
def test_plurals(kind: str, many: str) -> None:
    assert plural(kind) == many


def test_some_questions_are_asked_with_more_regions_given_than_mentioned() -> None:
    given = [len(example.regions) - len(mentioned(example.turns[0].question)) for _, example in examples("colour", 200)]
    assert 0.1 < sum(more > 0 for more in given) / len(given) < 0.5


def test_a_question_that_mentions_no_region_is_about_all_that_are_given() -> None:
    for _, example in examples("leftmost", 200):
        question = example.turns[0].question
        assert ("region is" in question) == (not mentioned(question))


def test_a_conversation_holds_questions_of_many_families_and_reasons() -> None:
    conversations = [example.turns for _, example in examples("turns", 200)]
    questions = " ".join(turn.question for turns in conversations for turn in turns)
    for words in ("What colour", "leftmost", "Why?", "How many", "touch"):
        assert words in questions
    assert max(len(turns) for turns in conversations) == 6
