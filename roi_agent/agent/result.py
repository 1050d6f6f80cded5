"""The result and the budget of a run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped
from roi_agent.trace import Trace, Usage


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one run.

    steps: turns of the planner; in the last one it has no tools and must answer.  seconds: from start to answer; a running tool
    ends at its next step.  tokens: input and output tokens of the planner; None is no limit.  calls_per_step: tool calls per
    turn.
    Error: InvalidSetting.
    """

    steps: int = 24
    seconds: float = 300.0
    tokens: int | None = None
    calls_per_step: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None and name == "tokens":
                continue
            whole = name != "seconds"
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < 1e9:
                kind = "a whole number" if whole else "a number"
                raise InvalidSetting(f"the budget's {name} is {escaped(value)}", do=f"give {kind} above zero")


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million input and output tokens of the planner, in any currency."""

    input: float
    output: float

    def of(self, usage: Usage) -> float:
        """Return the cost of a usage."""
        return (usage.input_tokens * self.input + usage.output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Approval:
    """A tool call that requires approval."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run.

    answer: with the doubts, if any.  said: the planner's own text.
    regions: evidence for the answer.  confidence: the lowest confidence of the region model about them; None if it was not
        asked.  doubts: reasons why the answer is uncertain, one sentence each.
    status: "answered"; "partial" if the budget or the planner ended the run early; "refused" if the planner cannot work on the
        task; "waiting" for approvals, see `waiting`.
    data: the structured answer of the requested class.  cost: None without a known price.
    """

    answer: str
    said: str
    regions: tuple[Region, ...]
    confidence: float | None
    doubts: tuple[str, ...]
    status: str
    trace: Trace
    usage: Usage
    cost: float | None
    thread: str
    data: BaseModel | None = None
    waiting: tuple[Approval, ...] = ()

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain JSON values; the steps of the trace without their data."""
        steps = [{"kind": s.kind, "name": s.name, "arguments": dict(s.arguments), "text": s.text} for s in self.trace.steps]
        return {
            "answer": self.answer,
            "said": self.said,
            "regions": [region.to_dict() for region in self.regions],
            "confidence": self.confidence,
            "doubts": list(self.doubts),
            "status": self.status,
            "data": self.data.model_dump(mode="json") if self.data else None,
            "waiting": [asdict(each) for each in self.waiting],
            "usage": asdict(self.usage),
            "cost": self.cost,
            "thread": self.thread,
            "steps": steps,
        }

    def _repr_html_(self) -> str:
        return self.trace._repr_html_()
