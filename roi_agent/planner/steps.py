"""How a plan is written: as a generator that asks for tools and goes on with what they reply.

A chat model keeps no state between its turns. So the plan is run again from the beginning at every turn, with the replies that
the conversation holds; where they end, the next calls stand.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool to call.  why: for people who read along."""

    tool: str
    arguments: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a tool replied: its text, and the regions and the data of its artifact.  failed: the text says why."""

    text: str
    regions: tuple[Mapping[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    failed: bool = False


# Calls of one round, which do not depend on each other -> their replies in the same order.
Steps = Generator[list[Call], list[Reply], T]


class Stopped(Exception):
    """A plan that cannot go on; the text is for the user."""


def call(tool: str, why: str = "", **arguments: Any) -> Steps[Reply]:
    """One call.  Raises Stopped where the tool fails."""
    (reply,) = yield [Call(tool, arguments, why)]
    return checked(tool, reply)


def checked(tool: str, reply: Reply) -> Reply:
    """The reply, unless it is a failure.  Raises Stopped."""
    if reply.failed:
        raise Stopped(f"I cannot go on: {tool} failed with: {' '.join(reply.text.split())}")
    return reply


def handles_in(text: str) -> tuple[str, ...]:
    """Handles of regions that a text names, each once."""
    return tuple(dict.fromkeys(re.findall(r"\bregion[1-9]\d{0,3}\b", text)))
