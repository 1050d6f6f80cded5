"""What a run gives, and what it may take."""

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
    """What one run may take at most.

    steps: turns of the planner; in the last one it has no tools and must answer.  seconds: from start to answer; a tool that
    is running ends at its next step.  tokens: of the planner, read and written; None is no limit.  calls_per_step: tools of one
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
    """Of the planner's tokens, for a million read and a million written, in any currency."""

    input: float
    output: float

    def of(self, usage: Usage) -> float:
        """What that usage costs."""
        return (usage.input_tokens * self.input + usage.output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Approval:
    """A call that waits for a person: the tool and its arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run.

    answer: with the doubts, where there are any.  said: the planner's own words.
    regions: that the answer rests on.  confidence: of the region model in what it said of them, the lowest; None where it was
        not asked.  doubts: why the answer is not sure, one sentence each.
    status: "answered"; "partial" where the budget or the planner ended it before; "refused" where the planner says that it cannot
        work on the task; "waiting" for approvals: see `waiting`.
    data: the answer in the form of the class that was asked for.  cost: None where no price is known.
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
        """Plain JSON values; the trace without its data."""
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
