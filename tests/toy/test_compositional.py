"""Compositional questions about whole scenes: read again from their words, their answers are the truth of the scene."""

import re
from collections import Counter
from functools import cache
from random import Random

import pytest

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.compositional import (
    COMPOSITIONAL,
    VisualQuestion,
    make_visual_question,
    same_answer,
    visual_questions,
)
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene
from roi_agent.prompts import load_blocks
from tests.question_reader import MEANINGS, NOUNS, readings


@cache
def questions(count: int = 200) -> list[tuple[Scene, VisualQuestion]]:
    return list(visual_questions(count))


def of(family: str) -> list[tuple[Scene, VisualQuestion]]:
    return [(scene, asked) for scene, asked in questions() if asked.family == family]


# Questions


@pytest.mark.parametrize("family", COMPOSITIONAL)
def test_what_is_asked_is_plain_and_the_answer_true(family: str) -> None:
    for scene, asked in of(family):
        understood = readings(scene, asked)
        assert {*understood.values()} == {asked.answer}, (scene.seed, asked, understood)


def test_every_wording_of_questions_is_in_use() -> None:
    used = {block for scene, asked in questions() for block in readings(scene, asked)}
    assert used == {*MEANINGS}


@pytest.mark.parametrize("family", [each for each in COMPOSITIONAL if each != "none"])
def test_no_answer_dominates(family: str) -> None:
    answers = Counter(asked.answer for _, asked in of(family))
    assert answers.most_common(1)[0][1] < 0.65 * answers.total()
    if yes_or_no := answers["yes"] + answers["no"]:
        assert 0.4 < answers["yes"] / yes_or_no < 0.6


def test_numbers_are_spread_and_nothing_is_always_none() -> None:
    counts = Counter(asked.answer for _, asked in of("count"))
    assert {*counts} >= {*COUNTS[:5]}
    assert max(counts.values()) < 0.4 * counts.total()
    assert {asked.answer for _, asked in of("none")} == {"none"}


def test_about_half_of_the_relations_are_horizontal() -> None:
    asked = " ".join(each.question for family in ("relation_attribute", "two_hop", "none") for _, each in of(family))
    horizontal, vertical = (len(re.findall(words, asked)) for words in ("left of|right of", "above|higher up|below|lower down"))
    assert 0.4 < horizontal / (horizontal + vertical) < 0.6


def test_what_does_not_exist_is_one_attribute_away_from_a_thing() -> None:
    checked = 0
    for scene, asked in of("existence"):
        looks = {*COLOURS, *SIZES, *KINDS} & {NOUNS.get(word) or word for word in re.findall(r"\w+", asked.question)}
        if asked.answer == "no" and "existence" in readings(scene, asked):
            assert min(len(looks - {thing.size, thing.colour, thing.kind}) for thing in scene.things) == 1, asked
            checked += 1
    assert checked > 20


def test_no_question_holds_words_that_english_bends_otherwise() -> None:
    for _, asked in questions():
        assert not re.search(r"scissors|snowmans|\ba [aeio]|\ba hour|  |[{}]", asked.question), asked
        assert asked.question[0].isupper()
        assert asked.question[-1] in "?."


def test_wordings_are_several_and_british() -> None:
    blocks = load_blocks("compositional")
    for name in MEANINGS:
        lines = blocks[name].splitlines()
        assert len({*lines}) == len(lines) >= 4, name
    assert not any("color" in text or "gray" in text for text in blocks.values())


# Drawing


def test_the_first_seeds_offer_so_many_of_every_family_one_per_scene() -> None:
    for family in COMPOSITIONAL:
        seeds = [scene.seed for scene, _ in of(family)]
        assert len(seeds) == len({*seeds}) == 200
        assert seeds == sorted(seeds)
        assert seeds[59] < 5000


def test_the_same_seeds_give_the_same_questions_and_others_others() -> None:
    assert list(visual_questions(5)) == list(visual_questions(5))
    assert {scene.seed for scene, _ in visual_questions(2, first_seed=700)} <= {*range(700, 800)}
    assert not [*visual_questions(0)]
    scene = make_scene(3)
    drawn = {make_visual_question(scene, "count", Random(seed)) for seed in range(20)}
    assert len(drawn) > 5


@pytest.mark.parametrize("first_seed", [TRAINING_SEEDS, TRAINING_SEEDS - 2, -1])
def test_only_held_out_seeds_are_asked_about(first_seed: int) -> None:
    with pytest.raises(InvalidSetting):
        list(visual_questions(5, first_seed=first_seed))


def test_what_is_not_allowed_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="family"):
        make_visual_question(make_scene(0), "riddle", Random(0))
    with pytest.raises(InvalidSetting, match="count"):
        list(visual_questions(-1))


@pytest.mark.parametrize("family", ["comparison", "nearest", "odd_one_out", "same", "set_equality", "ordering"])
def test_two_things_that_look_alike_offer_nothing_to_distinguish(family: str) -> None:
    scene = Scene(0, tuple(Thing("star", "red", "small", (x, 0.4, x + 0.16, 0.56)) for x in (0.1, 0.6)))
    assert all(make_visual_question(scene, family, Random(seed)) is None for seed in range(20))


# Answers


@pytest.mark.parametrize(
    ("said", "truth"),
    [
        ("Yes.", "yes"),
        ("yes, the red star is larger", "yes"),
        ("Yes (region1, region3), the first is larger.", "yes"),
        ("No, there is none.", "no"),
        ("2", "two"),
        ("Two.", "two"),
        ("0", "none"),
        ("No", "none"),
        ("zero", "none"),
        ("There is none.", "none"),
        ("none of them", "none"),
        ("Nothing", "none"),
        ("No, there is none.", "none"),
        ("There is none: nothing is left of it.", "none"),
        ("a red star", "red star"),
        ("The red star (region1).", "red star"),
        ("  RED   star ", "red star"),
        ("red star the", "red star"),
        ("red, blue and green", "red, blue, green"),
        ("Red, blue, and green (region1, region3 and <region2>).", "red, blue, green"),
        ("the star and the cup", "star, cup"),
    ],
)
def test_answers_may_differ_in_form(said: str, truth: str) -> None:
    assert same_answer(said, truth)
    assert same_answer(truth, truth)


@pytest.mark.parametrize(
    ("said", "truth"),
    [
        ("", "yes"),
        ("", "none"),
        ("no", "yes"),
        ("none", "no"),
        ("there is none", "no"),
        ("yes and no", "yes"),
        ("I would say yes", "yes"),
        ("yes", "none"),
        ("no, the red star", "none"),
        ("none, two", "none"),
        ("two: there is none", "none"),
        ("red: the star", "red"),
        ("the colour is red", "red"),
        ("red star", "red"),
        ("large red star", "red star"),
        ("star", "red star"),
        ("star red", "red star"),
        ("red, green, blue", "red, blue, green"),
        ("red, blue", "red, blue, green"),
        ("red blue green", "red, blue, green"),
        ("there are two", "two"),
        ("12", "two"),
        ("1", "two"),
        ("one or two", "two"),
        ("red (a star)", "red"),
    ],
)
def test_answers_may_not_differ_in_content(said: str, truth: str) -> None:
    assert not same_answer(said, truth)
