"""Closed questions with their options after letters: what is asked, and what counts as an answer."""

import pytest

from roi_agent.model.data.multiple_choice import as_multiple_choice, parse_letter, shuffled_options, with_lettered_options
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region

OPTIONS = ("red", "blue", "C", "no: it is not")


def record(id: str = "a") -> Record:
    turns = (
        RecordTurn("What colour is <region1>?", "red", OPTIONS),
        RecordTurn("Is it large?", "yes"),
        RecordTurn("Why?", "it fills the image", ("it fills the image", "it is red")),
    )
    return Record(id, "a.png", (4, 4), (Region("region1", Box(0, 0, 2, 2)),), turns, "a test", "CC0-1.0")


def test_every_closed_turn_is_a_conversation_with_the_turns_before_it_as_they_are() -> None:
    first, second = as_multiple_choice(record())
    assert len(first) == 1 and [each.answer for each in second[:2]] == ["red", "yes"]
    for number, conversation in ((0, first), (2, second)):
        options = shuffled_options(record(), number)
        assert sorted(options) == sorted(record().turns[number].options)
        assert conversation[-1].question == with_lettered_options(record().turns[number].question, options)
        place = parse_letter(str(conversation[-1].answer), options)
        assert place is not None and options[place] == record().turns[number].answer


def test_a_record_without_options_has_none() -> None:
    plain = Record("b", "a.png", (4, 4), (), (RecordTurn("Is it large?", "yes"),), "a test", "CC0-1.0")
    assert as_multiple_choice(plain) == []


def test_the_order_of_the_options_reveals_nothing() -> None:
    places = [shuffled_options(record(str(number)), 0).index("red") for number in range(400)]
    assert all(80 <= places.count(place) <= 120 for place in range(4))
    assert shuffled_options(record(), 0) == shuffled_options(record(), 0)
    assert shuffled_options(record(), 0, seed=1) != shuffled_options(record(), 0, seed=2)


@pytest.mark.parametrize(
    ("text", "place"),
    [("A", 0), ("a", 0), ("(b)", 1), ("c.", 2), ("e", None), ("a red", None), ("b blue", None),
      ("B.", 1), (" (B) ", 1), ("B: blue", 1), ("B: red", None), ("C", 2), ("C C", 2),
     ("D: no: it is not", 3), ("E", None), ("", None), ("blue", None), ("AB", None)],
)  # fmt: skip
def test_only_a_letter_alone_or_with_its_own_words_is_read(text: str, place: int | None) -> None:
    assert parse_letter(text, OPTIONS) == place
