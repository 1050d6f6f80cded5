"""Phrases about scenes: true of what they are said to describe, read back from their own words."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roi_agent.model.toy.questions.phrases import (
    FORMS,
    UNKNOWN,
    Phrase,
    make_phrases,
    swapped_phrase,
    true_phrase,
    unknown_phrase,
    words,
)
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene
from tests.phrases import true_of


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 999_999), count=st.integers(1, 10))
def test_phrases_describe_exactly_the_things_that_their_words_fit(seed: int, count: int) -> None:
    scene = make_scene(seed)
    phrases = make_phrases(scene, Random(seed), count)
    assert len({phrase.text for phrase in phrases}) == count
    for phrase in phrases:
        assert phrase.found_in(scene) == [index for index, thing in enumerate(scene.things) if true_of(phrase.text, thing)]
        assert phrase.form in FORMS


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 999_999))
def test_true_ones_are_true_and_the_others_are_not(seed: int) -> None:
    scene, rng = make_scene(seed), Random(seed)
    assert true_phrase(scene, rng).found_in(scene)
    assert not unknown_phrase(scene, rng).found_in(scene)


def test_a_swapped_phrase_is_mostly_one_attribute_from_a_thing_that_is_there() -> None:
    scene = Scene(1, (Thing("star", "blue", "small", (0.1, 0.1, 0.3, 0.3)), Thing("disc", "red", "small", (0.5, 0.5, 0.7, 0.7))))
    found = [swapped_phrase(scene, Random(seed)) for seed in range(300)]
    assert not any(phrase.found_in(scene) for phrase in found)
    assert {"red star", "blue disc"} <= {f"{phrase.colour} {phrase.kind}" for phrase in found}


def test_half_of_the_phrases_are_true_and_every_form_occurs() -> None:
    pairs = [(make_scene(seed), phrase) for seed in range(300) for phrase in make_phrases(make_scene(seed), Random(seed), 5)]
    true = [bool(phrase.found_in(scene)) for scene, phrase in pairs]
    assert 0.45 < sum(true) / len(true) < 0.65
    assert {phrase.form for _, phrase in pairs} == set(FORMS)


@pytest.mark.parametrize(
    ("phrase", "described"),
    [
        (Phrase("star", kind="star"), [0, 1]),
        (Phrase("red star", kind="star", colour="red"), [0]),
        (Phrase("red", colour="red"), [0, 2]),
        (Phrase("thing"), [0, 1, 2]),
        (Phrase("big star", kind="star", size="large"), []),
        (Phrase("zebra", kind=UNKNOWN), []),
    ],
)
def test_a_phrase_may_describe_several_things(phrase: Phrase, described: list[int]) -> None:
    box = (0.1, 0.1, 0.2, 0.2)
    things = (Thing("star", "red", "small", box), Thing("star", "blue", "small", box), Thing("disc", "red", "small", box))
    assert phrase.found_in(Scene(0, things)) == described


def test_unknown_words_are_unknown() -> None:
    texts = [unknown_phrase(make_scene(seed), Random(seed)).text for seed in range(100)]
    assert all(set(text.split()) - set(words()) for text in texts)
