"""The events of `Agent.stream`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roi_agent.agent.result import Approval, Result
from roi_agent.trace import Step

__all__ = ["Approval", "Calling", "Event", "Finished", "Started", "Stepped", "Waiting", "Words"]


@dataclass(frozen=True, slots=True)
class Started:
    """The run has started.  images: their handles.  planner: its name."""

    task: str
    thread: str
    planner: str
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A piece of the planner's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Calling:
    """A tool is about to run."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step has ended."""

    step: Step


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run waits for approval; `Agent.resume` takes one decision per call."""

    calls: tuple[Approval, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The run has ended."""

    result: Result


Event = Started | Words | Calling | Stepped | Waiting | Finished
