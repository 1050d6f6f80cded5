"""Notes about whether an image is of the kind that a model was trained on."""

from collections.abc import Iterable
from typing import Self

OUTSIDE = "this image lies outside what the model was trained on"
NOT_KNOWN = "whether this image is of the kind that the model was trained on is not known"

_WARNING = "; do not rely on "


class DomainNote(str):
    """A note with the finding that it is made of: a string like all notes, recognised by its type and not by its words.

    finding: the note without what not to rely on.  outside: whether the image lies outside the domain, or this is not known.
    """

    __slots__ = ("finding", "outside")

    finding: str
    outside: bool

    def __new__(cls, finding: str, *, unreliable: str = "", outside: bool = True) -> Self:
        """unreliable: what not to rely on, such as "the answer"."""
        note = super().__new__(cls, f"{finding}{_WARNING}{unreliable}" if unreliable else finding)
        note.finding, note.outside = finding, outside
        return note

    @classmethod
    def not_known(cls, known: str) -> Self:
        """The note of a model that cannot judge images.  known: what it was trained on, in words."""
        return cls(f"{NOT_KNOWN} ({known})", outside=False)


def received(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes that came as plain text, such as over HTTP, with those about a domain typed again."""
    return tuple(map(_received, notes))


def without_repeats(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes as plain text, each once; of notes about a domain with the same finding, the first."""
    first: dict[str, str] = {}
    for note in notes:
        first.setdefault(note.finding if isinstance(note, DomainNote) else note, note)
    return tuple(map(str, first.values()))


def _received(text: str) -> str:
    if not text.startswith((OUTSIDE, NOT_KNOWN)):
        return text
    finding, _, unreliable = text.partition(_WARNING)
    return DomainNote(finding, unreliable=unreliable, outside=text.startswith(OUTSIDE))
