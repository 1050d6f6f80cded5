"""What a run tells while it goes on: the events of `Agent.stream`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roi_agent.agent.result import Approval, Result
from roi_agent.trace import Step

__all__ = ["Approval", "Calling", "Event", "Finished", "Started", "Stepped", "Waiting", "Words"]


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins.  images: their handles.  planner: its name."""

    task: str
    thread: str
    planner: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """The planner writes; text: the next piece of it."""

    text: str


@dataclass(frozen=True, slots=True)
class Calling:
    """A tool is about to run."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step is done."""

    step: Step


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run waits for a person; `Agent.resume` goes on with one decision for each call."""

    calls: tuple[Approval, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over."""

    result: Result


Event = Started | Words | Calling | Stepped | Waiting | Finished
