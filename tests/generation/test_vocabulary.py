"""The vocabulary of generated instructions: what the detector knows, how answers are read, and what else might be said."""

from random import Random

import pytest

from roi_agent import load_detector
from roi_agent.generation.vocabulary import Vocabulary
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.world.art import KINDS
from tests.described import VOCABULARY


def test_the_detector_is_asked_for_the_words_it_knows() -> None:
    assert set(Vocabulary.known_to(load_detector()).kinds) == set(KINDS)
    assert Vocabulary.known_to(load_detector(), ("star", "zebra", "red fish")).kinds == ("star", "red fish")
    with pytest.raises(InvalidSetting, match="none of the words"):
        Vocabulary.known_to(load_detector(), ("zebra", "grey teapot"))


@pytest.mark.parametrize(
    ("attribute", "answer", "read"),
    [
        ("kind", "star", "star"),
        ("kind", "A red star.", "star"),
        ("kind", "a car and a star", "car and a star"),
        ("kind", "a scarf", "scarf"),
        ("colour", "The colour is red.", "red"),
        ("colour", "reddish", "reddish"),
        ("name", "A small  red star.", "small red star"),
        ("name", "", ""),
    ],
)
def test_answers_are_read_by_the_words_that_are_known(attribute: str, answer: str, read: str) -> None:
    assert VOCABULARY.read(attribute, answer) == read


@pytest.mark.parametrize("attribute", ["kind", "colour", "name"])
def test_alternatives_are_others_and_begin_with_the_given_answer(attribute: str) -> None:
    told = {"kind": "star", "colour": "red", "name": "small red star"}[attribute]
    options = VOCABULARY.alternatives(attribute, told, ("small blue cup",), Random(0))
    assert options[0] == told and options[1] == "small blue cup"
    assert 3 <= len(options) == len(set(options)) <= 12
    if attribute == "name":
        assert any(option.endswith("red star") and not option.startswith("small") for option in options)
