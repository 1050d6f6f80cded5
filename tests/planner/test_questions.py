"""What the offline planner understands: sentences as queries, and what it does with everything else."""

import time
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roi_agent.model.toy.questions.compositional import visual_questions
from roi_agent.planner.language import described, number, sentences, singular, tokens
from roi_agent.planner.nouns import noun
from roi_agent.planner.query import (
    Attribute,
    Count,
    Either,
    Exists,
    Extreme,
    Find,
    Holds,
    Is,
    Lies,
    More,
    Noun,
    Ordered,
    Placed,
    Relate,
    Same,
    SameSet,
    Shares,
    Unlike,
    Verbatim,
    Which,
)
from roi_agent.planner.questions import is_instruction, parse_question
from roi_agent.prompts import load_blocks

RED, BLUE = Is("colour", "red"), Is("colour", "blue")
STAR, STARS = Noun("star", definite=True), Noun("star", plural=True)
RED_STAR = Noun("star", (RED,))
CUP, BLUE_CUP = Noun("cup", definite=True), Noun("cup", (BLUE,), definite=True)
UMBRELLA = Noun("umbrella", (RED,), definite=True)
ANY, THE = Noun(plural=True), Noun(definite=True)
FIRST, SECOND = Noun(handles=("region1",), definite=True), Noun(handles=("region2",), definite=True)
LARGEST = Extreme("largest to smallest")


def plain(value: Any) -> Any:
    """The query without the words that its nouns came from."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if not is_dataclass(value) or isinstance(value, type):
        return value
    kept = {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return replace(value, **{**kept, **({"words": ""} if "words" in kept else {})})


@pytest.mark.parametrize(
    "sentence,query",
    [
        ("Is there a red star?", Exists(RED_STAR)),
        ("Can you see a red star in the picture?", Exists(RED_STAR)),
        ("Does the image show stars?", Exists(STARS)),
        ("Are there any stars left of the blue cup?", Exists(replace(STARS, filters=(Lies("left of", BLUE_CUP),)))),
        ("How many stars are there?", Count((STARS,))),
        ("How many of the stars are red?", Count((replace(STARS, definite=True, filters=(RED,)),))),
        ("How many red and blue things do you see?", Count((replace(ANY, filters=(RED, BLUE)),))),
        ("How many colours are there?", Count((ANY,), "colour")),
        ("Count the stars and the cups.", Count((replace(STARS, definite=True), Noun("cup", plural=True, definite=True)))),
        ("What colour is the star?", Attribute("colour", STAR)),
        ("Could you tell me what color the star is, please?", Attribute("colour", STAR)),
        ("the colour of the thing right of the largest star", Attribute("colour", replace(THE, filters=(
            Lies("right of", replace(STAR, pick=LARGEST)),)))),
        ("What is <region1>?", Attribute("name", FIRST)),
        ("What is it?", Attribute("name", Noun(pronoun=True))),
        ("Where is the star?", Attribute("place", STAR)),
        ("How big is the star?", Attribute("size", STAR)),
        ("What kind of thing is below the cup?", Attribute("kind", Noun(filters=(Lies("below", CUP),)))),
        ("What is left of the red umbrella?", Find(replace(ANY, filters=(Lies("left of", UMBRELLA),)))),
        ("What is in the top left?", Find(replace(ANY, filters=(Placed("top left"),)))),
        ("What is nearest to the cup?", Find(Noun(pick=Extreme("nearest first", 1, CUP)))),
        ("Find all red stars", Find(replace(STARS, filters=(RED,)))),
        ("Which star is the largest?", Find(Noun("star", pick=LARGEST))),
        ("What is the second largest thing, by its colour and kind?", Find(Noun(pick=Extreme("largest to smallest", 2)))),
        ("Which of the stars differs from the others in colour?", Find(
            replace(STARS, definite=True, filters=(Unlike("colour"),)))),
        ("Which other thing has the same colour as the cup?", Find(Noun(filters=(Shares("colour", CUP),), other=True))),
        ("Is the star red?", Holds(STAR, (RED,))),
        ("Is the star not red?", Holds(STAR, (replace(RED, negated=True),))),
        ("Is it true that the star is red?", Holds(STAR, (RED,))),
        ("Is <region1> left of <region2>?", Holds(FIRST, (Lies("left of", SECOND),))),
        ("Is the star larger than the blue cup?", Holds(STAR, (Lies("larger than", BLUE_CUP),))),
        ("Do the star and the cup touch?", Holds(STAR, (Lies("touching", CUP),))),
        ("Are all stars red?", Holds(STARS, (RED,))),
        ("Are any stars red?", Holds(STARS, (RED,), every=False)),
        ("Do all stars have the same colour?", Same("colour", (STARS,))),
        ("Is the star the same kind of thing as the cup?", Same("kind", (STAR, CUP))),
        ("Do <region1> and <region2> differ in size?", Same("size", (FIRST, SECOND), negated=True)),
        ("Do the stars and the cups have the same colours?", SameSet("colour", replace(STARS, definite=True), Noun(
            "cup", plural=True, definite=True))),
        ("Are there more stars than cups?", More(STARS, Noun("cup", plural=True), "more")),
        ("Are there as many stars as cups?", More(STARS, Noun("cup", plural=True), "equal")),
        ("Which are there fewer of, stars or cups?", More(STARS, Noun("cup", plural=True), "fewer", which=True)),
        ("Which is larger: the star or the cup?", Which((STAR, CUP), LARGEST)),
        ("Which of <region1> and <region2> is further left?", Which((FIRST, SECOND), Extreme("left to right"))),
        ("Which is nearer to the blue cup, the star or <region1>?", Which((STAR, FIRST), Extreme("nearest first", 1, BLUE_CUP))),
        ("Is the star red or blue?", Either(STAR, ("red", "blue"))),
        ("Name the colours of the stars from left to right.", Ordered(replace(STARS, definite=True), "left to right", "colour")),
        ("From top to bottom, which kinds are the things?", Ordered(replace(ANY, definite=True), "top to bottom", "kind")),
        ("How does the star lie to the cup?", Relate(STAR, CUP)),
        ("What do <region1> and <region2> have in common?", Verbatim("What do <region1> and <region2> have in common?")),
    ],
)  # fmt: skip
def test_sentences_are_understood(sentence: str, query: object) -> None:
    assert plain(parse_question(sentences(sentence)[0])) == query


@pytest.mark.parametrize(
    "phrase,expected",
    [
        ("the star that is red and left of the cup", replace(STAR, filters=(RED, Lies("left of", CUP)))),
        ("a traffic light", Noun("traffic light")),
        ("the nearest star to the cup", replace(STAR, pick=Extreme("nearest first", 1, CUP))),
        ("small non-red things", Noun(filters=(Is("size", "small"), Is("colour", "red", True)), plural=True)),
        ("the star in image2", replace(STAR, image="image2")),
        ("the star in the second picture", replace(STAR, image="image2")),
        ("the thing in <region2>", SECOND),
        ("the rightmost", replace(THE, pick=Extreme("right to left"))),
        ("those stars", replace(STARS, pronoun=True)),
        ("a star whose colour differs from the others", Noun("star", (Unlike("colour"),))),
        ("the thing directly above the cup", replace(
            THE, filters=(Lies("above", CUP),), pick=Extreme("nearest first", 1, CUP))),
        ("the image", None),
        ("left of the cup", None),
        ("", None),
    ],
)  # fmt: skip
def test_noun_phrases_are_read_to_the_last_word(phrase: str, expected: Noun | None) -> None:
    assert plain(noun(tokens(phrase))) == expected


@pytest.mark.parametrize("sentence", ["Write a poem about umbrellas", "Why?", "hello there", "", "?!", "How are you today?"])
def test_what_is_not_understood_is_said_to_be(sentence: str) -> None:
    assert all(parse_question(each) is None for each in sentences(sentence))


def test_the_examples_that_it_gives_are_understood() -> None:
    for example in load_blocks("offline_planner")["examples"].splitlines():
        assert parse_question(sentences(example)[0]) is not None, example


def test_the_benchmarks_wordings_are_understood() -> None:
    asked = [question.question for _, question in visual_questions(25, first_seed=30_000)]
    unknown = [each for each in asked if any(parse_question(s) is None and not is_instruction(s) for s in sentences(each))]
    assert len(asked) == 300 and len(unknown) <= 6, unknown


WORDS = "is are the a of star stars red left right and or which what how many than largest , <region1> it not same colour as"


@given(st.text(max_size=200) | st.lists(st.sampled_from(WORDS.split(" ")), max_size=30).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_without_a_failure(text: str) -> None:
    start = time.monotonic()
    for sentence in sentences(text):
        parse_question(sentence)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "plural,one",
    [("stars", "star"), ("boxes", "box"), ("cherries", "cherry"), ("cactuses", "cactus"), ("houses", "house"), ("fish", "fish"),
     ("scissors", "scissors"), ("people", "person"), ("glass", "glass"), ("bus", "bus"), ("crosses", "cross")],
)  # fmt: skip
def test_plurals_have_singulars(plural: str, one: str) -> None:
    assert singular(plural) == one


def test_descriptions_are_taken_apart() -> None:
    found = described("a large red traffic light")
    assert (found.kind, found.colour, found.size, found.short) == ("traffic light", "red", "large", "red traffic light")
    assert described("gray").colour == "grey"
    assert described("").kind is None
    assert [number(count) for count in (0, 3, 12, 40)] == ["none", "three", "twelve", "40"]
