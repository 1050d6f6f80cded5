"""The steps of a run and their usage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

KINDS = ("planner", "tool", "check")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run.

    kind: "planner" for a turn of the planner, "tool" for a tool that it called, "check" for a tool that the agent called to
        verify the answer.  name: of the planner or the tool.  arguments: of the tool; for a planner's turn, its calls.
    text: the message or reply.  regions: handles that the step is about.  image: the handle of its image.
    data: the full result of the tool as plain JSON values; result: the typed result, only in the process of the run.
    error: whether the step failed; the text has the message.  seconds: duration.
    input_tokens, output_tokens: of the planner, or of the region model.
    images_before, regions_before: numbers of images and regions at the start of the step, which had the first handles.
    """

    number: int
    kind: str
    name: str
    text: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    regions: tuple[str, ...] = ()
    image: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    error: bool = False
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    images_before: int = 0
    regions_before: int = 0
    result: object = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "result"}


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a run.  Tokens are the planner's; region_tokens are input and output tokens of the region model."""

    planner_turns: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    region_tokens: int = 0
    seconds: float = 0.0


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Format arguments in one line for people."""
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())


def calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    """Format a planner's calls in one line for people."""
    return "; ".join(f"{call['name']}({arguments_text(call['args'])})" for call in calls)
