"""Sentence forms with slots, and how words are matched with them.

A form is written as people read it: "what|which ATTR is|are NP". Bars part alternatives, square brackets hold what may be
missing (one word of several), and words in capitals are slots, each read by a function of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Words = tuple[str, ...]
SlotReader = Callable[[Words], Any]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One form of a sentence.  build: the slots' values, in order -> a query, or None where they do not fit together."""

    parts: tuple[str, ...]
    build: Callable[..., Any]

    @classmethod
    def of(cls, text: str, build: Callable[..., Any]) -> "Pattern":
        return cls(tuple(text.split()), build)

    def read(self, words: Words, readers: Mapping[str, SlotReader]) -> Any:
        """What the words ask by this form, or None."""
        for values in _matches(self.parts, words, readers):
            if (query := self.build(*values)) is not None:
                return query
        return None


def _matches(parts: Words, words: Words, readers: Mapping[str, SlotReader]) -> Iterator[tuple[Any, ...]]:
    """The values of the slots for every way to lay the parts over the words."""
    if not parts:
        if not words:
            yield ()
        return
    part, rest = parts[0], parts[1:]
    if part in readers:
        # The shortest stretch last: a phrase takes what it can.
        for end in range(len(words), 0, -1):
            # What must follow is looked for first, because reading a slot costs more.
            if rest and rest[0] not in readers and not rest[0].startswith("[") and words[end : end + 1] not in _choices(rest[0]):
                continue
            if (value := readers[part](words[:end])) is not None:
                for values in _matches(rest, words[end:], readers):
                    yield (value, *values)
        return
    if words[:1] in _choices(part):
        yield from _matches(rest, words[1:], readers)
    if part.startswith("["):
        yield from _matches(rest, words, readers)


def _choices(part: str) -> tuple[Words, ...]:
    return tuple((word,) for word in part.strip("[]").split("|"))
