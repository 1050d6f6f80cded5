"""Parsing of sentences to queries: polite words and hints on the answer are removed, the rest must match a pattern."""

import re

from roi_agent.planner.language import tokens
from roi_agent.planner.patterns import Words
from roi_agent.planner.query import Attribute, Find, Query, Verbatim
from roi_agent.planner.sentence_patterns import PATTERNS
from roi_agent.planner.slots import READERS

_MAX_WORDS = 60
_JOINT = re.compile(r",?\s+and\s+(?=(?:what|which|how|where|is|are|do|does)\b)", re.IGNORECASE)
_GIVING = (("give",), ("name",), ("say",), ("state",), ("tell",))
_POLITE = [
    tuple(pattern.split())
    for pattern in (
        "please", "and", "then", "now", "so", "ok", "also", "can you tell me", "could you tell me", "tell me", "can you say",
        "i want to know", "i would like to know", "do you know", "can you", "could you",
    )
]  # fmt: skip
_PREFIXES = [
    tuple(pattern.split())
    for pattern in ("is it true that", "would you say that", "tell me whether", "tell me if", "say whether", "say if", "check if")
]  # fmt: skip


def parse_question(sentence: str) -> Query | None:
    """Parse a sentence; None if it matches no pattern.  sentence: without its final punctuation."""
    words, short = _without_hint(_without_politeness(tokens(sentence)))
    if not words or len(words) > _MAX_WORDS:
        return None
    for pattern in PATTERNS:
        if (query := pattern.read(words, READERS)) is not None:
            assert isinstance(query, Query)
            return by_look(query) if short else query
    return Verbatim(sentence.strip() + "?") if any(word.startswith("<") for word in words) else None


def parts(sentence: str) -> list[str]:
    """Split a sentence into its questions: "What is the largest thing, and what colour is it?" has two."""
    if parse_question(sentence) is None:
        for joint in _JOINT.finditer(sentence):
            first, second = sentence[: joint.start()], sentence[joint.end() :]
            if parse_question(first) is not None and parse_question(second) is not None:
                return [first, second]
    return [sentence]


def by_look(query: Query) -> Query:
    """Change a query for the name of a thing to one for its colour and kind."""
    return Find(query.noun) if isinstance(query, Attribute) and query.attribute == "name" else query


def is_instruction(sentence: str) -> bool:
    """Whether a sentence is an instruction for the other answers: "Give its colour and kind", "Answer in one word"."""
    words = _without_politeness(tokens(sentence))
    return words[:1] == ("answer",) or (words[:1] in _GIVING and words[2:] == ("colour", "and", "kind"))


def asks_for_looks(instruction: str) -> bool:
    """Whether an instruction asks for colour and kind."""
    return "colour and kind" in " ".join(tokens(instruction))


def _without_hint(words: Words) -> tuple[Words, bool]:
    """Remove hints on the answer, such as "yes or no"; also return whether there is a "by colour and kind"."""
    for hint in (("yes", "or", "no"), ("small", ",", "medium", "or", "large")):
        if words[-len(hint) :] == hint and words[0] not in ("is", "are"):
            words = words[: -len(hint)]
    if words[-3:] == ("yes", "or", "no"):
        words = words[:-3]
    short = words[-3:] == ("colour", "and", "kind")
    if short:
        end = next((i for i in range(len(words) - 4, 0, -1) if words[i] == "by"), len(words))
        words = words[:end]
    return tuple(words[:-1]) if words[-1:] == (",",) else words, short


def _without_politeness(words: Words) -> Words:
    """Remove polite words at the beginning and the end."""
    for pattern in _PREFIXES:
        if words[: len(pattern)] == pattern:
            words = words[len(pattern) :]
            words = (words[1], words[0], *words[2:]) if words[:1] == ("there",) and len(words) > 1 else words
    changed = True
    while changed:
        changed = False
        for pattern in _POLITE:
            if words[: len(pattern)] == pattern and len(words) > len(pattern):
                words, changed = words[len(pattern) :], True
        if words[-1:] in (("please",), (",",), ("exactly",)) or words[:1] == (",",):
            words, changed = words[1:] if words[0] == "," else words[:-1], True
    return words
