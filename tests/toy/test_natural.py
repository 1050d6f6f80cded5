"""Natural questions: every wording is asked once, with a true answer, and answers are read whatever their words."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.natural import NaturalQuestion, is_right, natural_questions
from roi_agent.model.toy.questions.natural_intents import INTENTS
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.art import KINDS
from roi_agent.model.toy.world.scenes import make_scene
from roi_agent.prompts import load_blocks


@pytest.fixture(scope="module")
def questions() -> list[NaturalQuestion]:
    return list(natural_questions())


def test_every_intent_has_eight_wordings_or_more_and_each_is_asked_once(questions: list[NaturalQuestion]) -> None:
    wordings = {intent: block.splitlines() for intent, block in load_blocks("natural_questions").items()}
    assert wordings.keys() == INTENTS.keys()
    assert all(len(set(lines)) == len(lines) >= 8 for lines in wordings.values())
    assert Counter(each.intent for each in questions) == {intent: len(lines) for intent, lines in wordings.items()}
    assert not any("{" in turn for each in questions for turn in each.turns)


def test_scenes_are_held_out_and_used_once(questions: list[NaturalQuestion]) -> None:
    seeds = [scene.seed for each in questions for scene in each.scenes]
    assert len(set(seeds)) == len(seeds) and max(seeds) < TRAINING_SEEDS


def test_yes_and_no_are_asked_for_alike(questions: list[NaturalQuestion]) -> None:
    truths = Counter((each.intent, each.truth) for each in questions if each.reply == "yes_no")
    assert truths and set(truths.values()) == {4}


def test_the_same_seed_asks_the_same_questions(questions: list[NaturalQuestion]) -> None:
    assert list(natural_questions()) == questions
    assert list(natural_questions(first_seed=5000)) != questions


def test_seeds_of_training_are_refused() -> None:
    with pytest.raises(InvalidSetting, match=f"far enough below {TRAINING_SEEDS}"):
        list(natural_questions(first_seed=TRAINING_SEEDS - 10))


@pytest.mark.parametrize(
    ("reply", "truth", "right", "wrong"),
    [
        (
            "number",
            "2",
            ["two (region1, region4)", "There are 2.", "Two stars"],
            ["three (region2)", "region2", "one or two", ""],
        ),
        ("number", "0", ["none", "No, nothing"], ["one"]),
        ("yes_no", "yes", ["Yes.", "yes, both"], ["no", "I do not know: yes?", ""]),
        ("colours", "red", ["It is red (region1)."], ["blue", "red or blue", "it has one"]),
        ("colours", "red blue", ["red, blue", "The first is red, the second blue."], ["blue, red", "red"]),
        (
            "thing",
            "red star",
            ["a large red star (region3)", "the star"],
            ["a blue star", "a red cup", "a red star and a cup", "red"],
        ),
        ("kinds", "star cup", ["two stars and a cup"], ["a star", "a star, a cup and a key"]),
        ("place", "top left", ["in the upper left-hand corner"], ["top right", "left"]),
        ("image", "image2", ["Image 2", "the second picture", "image2"], ["image1", "the first one", "both, image1 and image2"]),
    ],
)
def test_answers_are_read_in_whatever_words(reply: str, truth: str, right: list[str], wrong: list[str]) -> None:
    question = NaturalQuestion("", 0, (make_scene(0),), ("?",), reply, tuple(truth.split()))
    assert [text for text in right if not is_right(question, text)] == []
    assert [text for text in wrong if is_right(question, text)] == []


@given(st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_another_kind_is_never_right(kind: str, other: str) -> None:
    question = NaturalQuestion("", 0, (make_scene(0),), ("?",), "thing", ("red", kind))
    assert is_right(question, f"a red {other} (region1)") is (kind == other)
