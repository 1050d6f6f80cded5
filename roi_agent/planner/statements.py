"""The planner's answers with their regions, and helpers for their wording."""

from collections.abc import Sequence
from dataclasses import dataclass

from roi_agent.planner.query import Noun
from roi_agent.planner.steps import handles_in
from roi_agent.planner.things import Thing

_DETERMINERS = ("the", "a", "an", "any", "all", "every", "each", "some")


@dataclass(frozen=True, slots=True)
class Statement:
    """An answer.

    text: short.  handles: the regions of the answer.  value: the answer as a boolean, a number or words.
    doubts: reasons why it is uncertain.  refused: there is no answer; the text has the reason.
    """

    text: str
    handles: tuple[str, ...] = ()
    value: bool | int | str | list[str] = ""
    doubts: tuple[str, ...] = ()
    refused: bool = False

    def sentence(self) -> str:
        """Render: red (region1, region3) - not sure: "the star" fits two things (region2, region5)."""
        new = [handle for handle in self.handles if handle not in handles_in(self.text)]
        text = f"{self.text} ({', '.join(new)})" if new else self.text
        return f"{text} - not sure: {'; '.join(self.doubts)}" if self.doubts else text


def none_found(noun: Noun) -> Statement:
    """State that no thing of a noun was found."""
    return Statement(f"There is none: no {without_determiner(noun)} was found", (), "none")


def without_determiner(noun: Noun) -> str:
    """Return the words of a noun without its article."""
    words = noun.words.split()
    while words and words[0] in _DETERMINERS:
        words = words[1:]
    return " ".join(words) or ("such thing" if noun.filters else "thing")


def handles_of(things: Sequence[Thing]) -> tuple[str, ...]:
    """Return the handles of things."""
    return tuple(thing.handle for thing in things)


def join_words(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def yes_no(truth: bool) -> str:
    """ "yes" or "no"."""
    return "yes" if truth else "no"
