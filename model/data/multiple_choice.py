"""Multiple-choice questions that list their options after letters; the answer is a letter."""

import re
from collections.abc import Sequence
from random import Random

from roi_agent.model.data.record import Record
from roi_agent.model.protocol.conversation import Turn
from roi_agent.prompts import load_blocks

_LETTER = re.compile(r"\(?([A-Z])\)?[.:]?(?:\s+(?P<words>.*))?|\(?([a-z])\)?[.:]?", re.DOTALL)


def with_lettered_options(question: str, options: Sequence[str]) -> str:
    """Return the question followed by its lettered options, one a line, in the given order."""
    texts = load_blocks("choices")
    lines = [texts["choice"].format(letter=_letter(place), text=text) for place, text in enumerate(options)]
    return texts["lettered"].format(question=question, choices="\n".join(lines))


def parse_letter(text: str, options: Sequence[str]) -> int | None:
    """Return the index of the option that a text names by its letter, alone or followed by the option's text; else None.

    A lower-case letter counts only alone: some tokenizers, such as nano's, have no capitals, but "a" may be an article.
    """
    match = _LETTER.fullmatch(text.strip())
    place = ord((match[1] or match[3]).upper()) - ord("A") if match else len(options)
    if match is None or place >= len(options):
        return None
    return place if match["words"] is None or match["words"].strip() == options[place] else None


def as_multiple_choice(record: Record, seed: int = 0) -> list[tuple[Turn, ...]]:
    """Return a conversation for each turn with options: the earlier turns, then this turn with lettered options.

    seed: of the order of the options, which differs from turn to turn.
    """
    made = []
    for number, turn in enumerate(record.turns):
        if turn.options:
            options = shuffled_options(record, number, seed)
            closed = Turn(with_lettered_options(turn.question, options), _letter(options.index(turn.answer)))
            made.append((*record.conversation()[:number], closed))
    return made


def shuffled_options(record: Record, turn: int, seed: int = 0) -> tuple[str, ...]:
    """Return the options of a turn in the order of their letters."""
    options = record.turns[turn].options
    return tuple(Random(f"{seed} {record.id} {turn}").sample(options, len(options)))


def _letter(place: int) -> str:
    return chr(ord("A") + place)
