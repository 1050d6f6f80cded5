"""Plans as generators that yield tool calls and receive the replies.

A chat model has no state between turns. The plan is therefore run from the beginning at every turn, with the replies in the
conversation; its next calls follow the last reply.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call.  why: an explanation for people."""

    tool: str
    arguments: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a tool: its text, and the regions and data of its artifact.  failed: the text has the reason."""

    text: str
    regions: tuple[Mapping[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    failed: bool = False


# Independent calls -> their replies, in the same order.
Steps = Generator[list[Call], list[Reply], T]


class Stopped(Exception):
    """A plan that cannot continue; the text is for the user."""


def call(tool: str, why: str = "", **arguments: Any) -> Steps[Reply]:
    """Make one call.  Raises Stopped if the tool fails."""
    (reply,) = yield [Call(tool, arguments, why)]
    return checked(tool, reply)


def checked(tool: str, reply: Reply) -> Reply:
    """Return the reply if it is not a failure.  Raises Stopped."""
    if reply.failed:
        raise Stopped(f"I cannot continue: {tool} failed with: {' '.join(reply.text.split())}")
    return reply


def handles_in(text: str) -> tuple[str, ...]:
    """Return the handles of regions in a text, without duplicates."""
    return tuple(dict.fromkeys(re.findall(r"\bregion[1-9]\d{0,3}\b", text)))
