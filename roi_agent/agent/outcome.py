"""The outcome of a run: its answer with the evidence, or a report of what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from langchain.agents.structured_output import StructuredOutputError
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.errors import GraphRecursionError
from pydantic import BaseModel

from roi_agent.agent.evidence import check_evidence
from roi_agent.agent.planners import planner_error
from roi_agent.agent.result import Approval, Price, Result
from roi_agent.agent.running import CANCELLED, Run
from roi_agent.agent.threads import Conversation
from roi_agent.prompts import load_blocks
from roi_agent.tools.models import Models
from roi_agent.trace import Trace

NOT_SURE = " - not sure: "  # between an answer and its doubts, as the prompt asks planners to write it


@dataclass(frozen=True, slots=True)
class Ending:
    """The end state of a run.

    messages: of the conversation.  waiting: calls that require approval.  answer_as: the requested class of the answer.
    data: the structured answer, if any.
    """

    task: str
    messages: Sequence[BaseMessage]
    waiting: tuple[Approval, ...] = ()
    answer_as: type[BaseModel] | None = None
    data: BaseModel | None = None

    @property
    def said(self) -> str:
        """The planner's last text, if it is an answer and not a call; a structured answer may come without text."""
        if self.data is not None:
            words = next((message.text.strip() for message in reversed(self.messages) if isinstance(message, AIMessage)), "")
            return words or self.data.model_dump_json()
        last = self.messages[-1] if self.messages else None
        return last.text.strip() if isinstance(last, AIMessage) and not last.tool_calls else ""

    @property
    def refused(self) -> bool:
        """Whether the last message is a refusal of the task."""
        last = self.messages[-1] if self.messages else None
        return isinstance(last, AIMessage) and bool(last.additional_kwargs.get("refusal"))


def conclude(
    ending: Ending, run: Run, conversation: Conversation, models: Models, *, verify: bool, price: Price | None
) -> Result:
    """Build the result of a run, with its trace.  verify: ask the region model about finds that the planner did not ask about."""
    answered = bool(ending.said) and not ending.waiting and _is_from_this_run(ending.said, run)
    status = "waiting" if ending.waiting else "partial" if not answered else "refused" if ending.refused else "answered"
    said, _, planner_doubt = (ending.said if answered else "").partition(NOT_SURE)
    evidence = check_evidence(said, run, conversation.toolbox, verify=verify and status == "answered")
    doubts = [*([planner_doubt] if planner_doubt else []), *(evidence.doubts if status == "answered" else ())]
    if status == "answered" and ending.answer_as is not None and ending.data is None:
        doubts.append(f"it is not an instance of {ending.answer_as.__name__}")
        status = "partial"
    answer = f"{said}{NOT_SURE}{'; '.join(doubts)}" if doubts else said
    if status == "partial" and not said:
        why = run.stop_reason or "there is no answer"
        answer = load_blocks("agent")["partial"].format(why=why, found=_findings_so_far(run))
    conversation.save()
    usage = run.usage
    shared: dict[str, Any] = {
        "answer": answer,
        "said": said,
        "status": status,
        "confidence": evidence.confidence,
        "doubts": tuple(doubts),
        "usage": usage,
        "cost": price.of(usage) if price else None,
        "thread": conversation.thread,
    }
    trace = Trace(
        task=ending.task,
        planner=run.planner,
        models={line.role: line.name for line in models.plan()},
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        steps=tuple(run.steps),
        regions=tuple(region.name for region in evidence.regions),
        second_look=conversation.toolbox.second_look,
        workspace=conversation.workspace,
        **shared,
    )
    return Result(trace=trace, regions=evidence.regions, data=ending.data, waiting=ending.waiting, **shared)


def failure_reason(error: Exception, run: Run) -> str:
    """Describe why a run ended without an answer."""
    if isinstance(error, TimeoutError) and run.cancellation.cancelled:
        return CANCELLED
    if isinstance(error, TimeoutError) and not run.seconds_left:
        return f"the planner did not answer within the budget of {run.budget.seconds:g} seconds"
    if isinstance(error, GraphRecursionError):
        return "the run exceeded its maximum number of steps"
    if isinstance(error, StructuredOutputError):
        return "the planner did not return the requested structured answer"
    return planner_error(error, run.planner).problem


def _is_from_this_run(said: str, run: Run) -> bool:
    """Whether the text is from this run; a run that stopped early leaves the last text of an earlier run."""
    turns = [step for step in run.steps if step.kind == "planner"]
    return run.data is not None or (bool(turns) and turns[-1].text.strip() == said)


def _findings_so_far(run: Run) -> str:
    """Summarize the last tool replies."""
    replies = [step.text for step in run.steps if step.kind == "tool" and not step.error]
    if not replies:
        return "Nothing was found so far."
    return "Found so far: " + " | ".join(dict.fromkeys(" ".join(text.split())[:200] for text in replies[-3:]))
