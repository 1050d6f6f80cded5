"""Sentence patterns with slots, and their matching.

A pattern is written as in "what|which ATTR is|are NP": bars separate alternatives, square brackets contain an optional word (one
of several), and words in capitals are slots, which have reader functions.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Words = tuple[str, ...]
SlotReader = Callable[[Words], Any]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern of a sentence.  build: slot values, in order -> a query, or None if they do not match."""

    parts: tuple[str, ...]
    build: Callable[..., Any]

    @classmethod
    def of(cls, text: str, build: Callable[..., Any]) -> "Pattern":
        return cls(tuple(text.split()), build)

    def read(self, words: Words, readers: Mapping[str, SlotReader]) -> Any:
        """Parse words by this pattern; None if they do not match."""
        for values in _matches(self.parts, words, readers):
            if (query := self.build(*values)) is not None:
                return query
        return None


def _matches(parts: Words, words: Words, readers: Mapping[str, SlotReader]) -> Iterator[tuple[Any, ...]]:
    """Yield the slot values of every alignment of the parts with the words."""
    if not parts:
        if not words:
            yield ()
        return
    part, rest = parts[0], parts[1:]
    if part in readers:
        # Greedy: the longest span comes first.
        for end in range(len(words), 0, -1):
            # Check the next word first, because reading a slot costs more.
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
