"""The steps of a run and what they took."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

KINDS = ("planner", "tool", "check")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run.

    kind: "planner" for a turn of the planner, "tool" for a tool that it called, "check" for one that the agent called itself
        to make sure.  name: the planner's or the tool's.  arguments: of the tool; of a planner's turn, its calls.
    text: what was said or replied.  regions: handles that the step is about.  image: the handle of its image.
    data: the tool's result in full, as plain JSON values; result: the same as the tool gave it, in the process of the run only.
    error: whether it failed; the text says how.  seconds: it took.
    input_tokens, output_tokens: of the planner, or of the region model.
    images_before, regions_before: how many there were when it began, which were the first ones by their handles.
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
        """Plain JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "result"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run took.  Tokens are the planner's; region_tokens those of the region model, read and written."""

    planner_turns: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    region_tokens: int = 0
    seconds: float = 0.0


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Arguments in one line, for people."""
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())


def calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls of a planner in one line, for people."""
    return "; ".join(f"{call['name']}({arguments_text(call['args'])})" for call in calls)
