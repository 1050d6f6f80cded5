"""Replay of a trace with other models, with a report of the differences.

Every step runs in a workspace with the images and regions at its start in the recorded run. One difference therefore does not
lead to others, and recorded handles keep their meaning.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from roi_agent.agent.inputs import workspace_context
from roi_agent.agent.planners import planner_error
from roi_agent.model.geometry.regions import Region
from roi_agent.prompts import load_blocks
from roi_agent.tools.abilities import ABILITIES
from roi_agent.tools.measure import relate
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import Toolbox
from roi_agent.tools.workspace import Workspace
from roi_agent.trace import Step, Trace
from roi_agent.trace.steps import calls_text

SAME_PLACE = 0.85  # IoU from which two finds with one label are the same
SAME_CONFIDENCE = 0.1  # tolerance of a confidence


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of a step.  what: "error", "answer", "confidence", "regions", "reply", "calls" or "words"."""

    step: int
    name: str
    what: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A step that cannot be replayed, and why."""

    step: int
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome.  compared: number of replayed steps; same: those without a difference."""

    compared: int
    same: int
    differences: tuple[Difference, ...]
    skipped: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def replay(trace: Trace, models: Models, *, planner: BaseChatModel | None = None) -> Replay:
    """Replay every tool call of a trace with these models.

    planner: also replays each turn of the recorded planner, with the same conversation before it; turns of earlier tasks are not
    part of a trace.
    """
    differences: list[Difference] = []
    skipped: list[Skipped] = []
    compared = same = 0
    for step in trace.steps:
        if step.kind == "planner" and planner is None:
            continue
        toolbox = Toolbox(_workspace_before(trace, step), models, without=(), second_look=trace.second_look)
        why = _skip_reason(step, toolbox)
        if why is not None:
            skipped.append(Skipped(step.number, step.name, why))
            continue
        if step.kind == "planner":
            assert planner is not None
            found = list(_planner_differences(trace, step, toolbox, planner))
        else:
            found = list(_tool_differences(trace, step, toolbox))
        compared += 1
        same += not found
        differences += found
    return Replay(compared, same, tuple(differences), tuple(skipped))


def _workspace_before(trace: Trace, step: Step) -> Workspace:
    """Return the images and regions at the start of a step; handles are assigned in order and never removed."""
    workspace = trace.workspace
    return Workspace.of(workspace.images[: step.images_before], workspace.regions()[: step.regions_before])


def _skip_reason(step: Step, toolbox: Toolbox) -> str | None:
    """Return why a step cannot be replayed, or None."""
    if step.kind != "planner":
        if step.name not in toolbox.names:
            return f"there is no tool {step.name}"
        return "it was not run in the trace" if step.text.startswith("not run: ") else None
    unknown = [call["name"] for call in step.arguments.get("calls", ()) if call["name"] not in toolbox.names]
    return f"it called {unknown[0]}, which is not a tool of roi-agent" if unknown else None


# ---------------------------------------------------------------- tools


def _tool_differences(trace: Trace, step: Step, toolbox: Toolbox) -> Iterator[Difference]:
    reply = toolbox.call(step.name, step.arguments)

    def differs(what: str, before: str, now: str) -> Difference:
        return Difference(step.number, step.name, what, before, now)

    if bool(reply.error) != step.error:
        yield differs("error", step.text, reply.text)
    elif reply.error:
        return
    elif "answers" in reply.data or "confidence" in reply.data:
        pairs = zip(step.data.get("answers", [step.data]), reply.data.get("answers", [reply.data]), strict=False)
        for before, now in pairs:
            if _normalized(before["text"]) != _normalized(now["text"]):
                yield differs("answer", before["text"], now["text"])
            elif abs(before["confidence"] - now["confidence"]) > SAME_CONFIDENCE:
                yield differs("confidence", f"{before['confidence']:.2f}", f"{now['confidence']:.2f}")
    elif "regions" in ABILITIES[step.name].changes:
        before_regions = [region for region in trace.workspace.regions() if region.name in step.regions]
        missing, new = _unmatched(before_regions, reply.regions)
        if missing or new:
            yield differs("regions", _descriptions(missing) or "nothing more", _descriptions(new) or "nothing more")
    elif _normalized(reply.text) != _normalized(step.text):
        yield differs("reply", step.text, reply.text)


def _unmatched(before: Sequence[Region], now: Sequence[Region]) -> tuple[list[Region], list[Region]]:
    """Return the regions of each run without a match of the same label and place in the other."""
    left = list(now)
    missing = []
    for region in before:
        candidates = [each for each in left if (each.image, each.label) == (region.image, region.label)]
        best = max(candidates, key=lambda each: relate(region, each).iou, default=None)
        if best is not None and relate(region, best).iou >= SAME_PLACE:
            left.remove(best)
        else:
            missing.append(region)
    return missing, left


def _descriptions(regions: Sequence[Region]) -> str:
    return "; ".join(f"{each.label or 'a region'} at {','.join(f'{v:.0f}' for v in each.box.xyxy)}" for each in regions)


def _normalized(text: str) -> str:
    return " ".join(text.lower().split())


# ---------------------------------------------------------------- the planner


def _planner_differences(trace: Trace, step: Step, toolbox: Toolbox, planner: BaseChatModel) -> Iterator[Difference]:
    recorded = list(step.arguments.get("calls", ()))
    try:
        message = planner.bind_tools(toolbox.tools()).invoke(_conversation(trace, step))
    except Exception as error:  # any exception of a planner's package
        now = planner_error(error, "asked").problem
        yield Difference(step.number, step.name, "error", step.text or calls_text(recorded), now)
        return
    assert isinstance(message, AIMessage)
    calls = [{"name": call["name"], "args": call["args"]} for call in message.tool_calls]
    if recorded or calls:
        if calls != recorded:
            now = calls_text(calls) or message.text
            yield Difference(step.number, step.name, "calls", calls_text(recorded) or step.text, now)
    elif _normalized(message.text) != _normalized(step.text):
        yield Difference(step.number, step.name, "words", step.text, message.text)


def _conversation(trace: Trace, step: Step) -> list[AnyMessage]:
    """Rebuild the conversation before a turn of the recorded planner."""
    texts = load_blocks("agent")
    context = {"type": "text", "text": workspace_context(_workspace_before(trace, trace.steps[0]))}
    messages: list[AnyMessage] = [
        SystemMessage(texts["system"].format(sight="")),
        HumanMessage([context, {"type": "text", "text": trace.task}]),
    ]
    waiting: list[str] = []
    for each in trace.steps[: step.number - 1]:
        if each.kind == "planner":
            calls = each.arguments.get("calls", ())
            waiting = [f"call{each.number}_{index}" for index in range(len(calls))]
            made = [{**call, "id": id, "type": "tool_call"} for call, id in zip(calls, waiting, strict=True)]
            messages.append(AIMessage(each.text, tool_calls=made))
        elif each.kind == "tool" and waiting:
            status = "error" if each.error else "success"
            id = waiting.pop(0)
            messages.append(
                ToolMessage(each.text, tool_call_id=id, name=each.name, status=status, artifact=_artifact(trace, each))
            )
    return messages


def _artifact(trace: Trace, step: Step) -> Mapping[str, Any] | None:
    if step.error:
        return None
    regions = {region.name: region for region in trace.workspace.regions()}
    return {"regions": [regions[name].to_dict() for name in step.regions if name in regions], "data": dict(step.data)}
