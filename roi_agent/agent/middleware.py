"""Middleware between planner and tools: the budget, the record of every step, and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
    SummarizationMiddleware,
    ToolCallRequest,
    hook_config,
)
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.runtime import Runtime
from langgraph.types import Command

from roi_agent.agent.events import Calling
from roi_agent.agent.repair import refusal, repair_message
from roi_agent.agent.running import Run, StepStart
from roi_agent.model.utils.notebook_html import thumbnail
from roi_agent.prompts import load_blocks
from roi_agent.tools.ask import Asked
from roi_agent.tools.reply import Artifact, ToolReply, png_base64
from roi_agent.tools.results import answers_in
from roi_agent.tools.view import overview
from roi_agent.tools.workspace import Workspace

_MAX_NUDGES = 2  # empty messages of the planner before the run ends
_MAX_REPEATS = 2  # identical calls that are run
_PICTURE_SIDE = 1024  # maximum size of a picture for the planner, in pixels


class Supervision(AgentMiddleware[AgentState[Any], Run]):
    """Enforces the budget of a run and records its steps.

    LangChain's call limits are not used: they restart when a run resumes after an approval, and end it with a message of their
    own instead of a last turn in which the planner answers.

    on_tool_end: called after every tool, to save the workspace.
    answer_on_last_turn: whether the planner's last turn has no tools.
    """

    def __init__(self, on_tool_end: Callable[[], None], *, answer_on_last_turn: bool = True) -> None:
        super().__init__()
        self._on_tool_end, self._answer_on_last_turn = on_tool_end, answer_on_last_turn
        self._texts = load_blocks("agent")

    # ------------------------------------------------------------ before

    def before_agent(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """Reply to calls that an interrupted run left open, since chat models reject these conversations."""
        messages, patched = state["messages"], list[AnyMessage]()
        answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
        for message in messages:
            patched.append(message)
            for call in message.tool_calls if isinstance(message, AIMessage) else ():
                if call["id"] not in answered:
                    patched.append(refusal(self._texts["interrupted"], call))
        if len(patched) == len(messages):
            return None
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *patched]}

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """End the run if the budget is used up."""
        return {"jump_to": "end"} if runtime.context.stop_reason else None

    # ------------------------------------------------------------ the planner's turn

    def wrap_model_call(self, request: ModelRequest[Run], handler: Callable[[ModelRequest[Run]], ModelResponse]) -> ModelResponse:
        """Run and record the planner's turn within the remaining time."""
        run: Run = request.runtime.context
        if run.steps_left == 1 and run.budget.steps > 1 and self._answer_on_last_turn:
            prompt = f"{request.system_message.text if request.system_message else ''}\n\n{self._texts['last_step']}"
            request = request.override(tools=[], system_message=SystemMessage(prompt))
        start = run.start_step()
        response = run.call_within_budget(lambda: handler(request))
        used_ids = {str(call["id"]) for each in request.messages if isinstance(each, AIMessage) for call in each.tool_calls}
        message, replies = repair_message(response.result, used_ids, run.budget.calls_per_step)
        usage: Mapping[str, int] = message.usage_metadata or {}  # type: ignore[assignment]
        calls = [{"name": call["name"], "args": call["args"]} for call in message.tool_calls]
        run.record(
            "planner",
            run.planner,
            message.text,
            start,
            arguments={"calls": calls} if calls else {},
            input_tokens=max(0, usage.get("input_tokens", 0)),
            output_tokens=max(0, usage.get("output_tokens", 0)),
        )
        return ModelResponse([message, *replies], response.structured_response)

    @hook_config(can_jump_to=["model", "end"])
    def after_model(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """End the run if the budget is used up; ask again if the planner's message is empty."""
        run, message = runtime.context, state["messages"][-1]
        if not isinstance(message, AIMessage):
            return None
        if run.stop_reason:
            return None if not message.tool_calls else {"jump_to": "end"}
        if message.tool_calls or message.text.strip() or state.get("structured_response") is not None:
            return None
        run.nudges += 1
        if run.nudges > _MAX_NUDGES:
            run.stop("the planner returned neither an answer nor a call")
            return {"jump_to": "end"}
        nudge = HumanMessage(self._texts["empty"])
        return {"messages": [RemoveMessage(id=str(message.id)), nudge], "jump_to": "model"}

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """Move the structured answer from the conversation to the run, so that the next run does not see it."""
        if state.get("structured_response") is None:
            return None
        runtime.context.data = state["structured_response"]
        return {"structured_response": None}

    # ------------------------------------------------------------ tools

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run and record one tool, unless the budget is used up or the same call was repeated too often."""
        run = request.runtime.context
        assert isinstance(run, Run)
        with run.in_call_order(str(request.tool_call["id"]), _preceding_calls(request)):
            return self._run_tool(run, request, handler)

    def _run_tool(
        self, run: Run, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        call = request.tool_call
        name, arguments = call["name"], call["args"]
        repeats = run.count_repeats(name, arguments)
        refused = None
        if run.stop_reason:
            refused = self._texts["budget"].format(what=run.stop_reason)
        elif repeats >= _MAX_REPEATS:
            refused = self._texts["repeated"].format(count=repeats)
        if refused:
            message = refusal(refused, call)
            run.record("tool", name, refused, run.start_step(), arguments=arguments, error=True)
            return message
        run.events.append(Calling(name, arguments))
        start = run.start_step()
        result = handler(request)
        if isinstance(result, ToolMessage):
            artifact = result.artifact
            reply = artifact.reply if isinstance(artifact, Artifact) else ToolReply(result.text)
            failed = result.status == "error"
            record_reply(run, "tool", name, arguments, replace(reply, text=result.text), start, failed=failed)
            if isinstance(artifact, Artifact):
                # Checkpoints contain every message; the picture can be drawn again.
                result.artifact = {key: value for key, value in artifact.items() if key != "picture"}
        self._on_tool_end()
        return result


class ShowImages(AgentMiddleware[AgentState[Any], Run]):
    """Shows every image with its regions to a planner with image input; pictures are not stored in the conversation."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace

    def wrap_model_call(self, request: ModelRequest[Run], handler: Callable[[ModelRequest[Run]], ModelResponse]) -> ModelResponse:
        """Append the pictures to the planner's messages."""
        blocks: list[str | dict[str, Any]] = [{"type": "text", "text": load_blocks("agent")["pictures"]}]
        whole = [image for image in self._workspace.images if image.parent is None]
        crops = [image for image in self._workspace.images if image.parent is not None]
        for image in [*whole, *crops[-1:]]:
            picture = thumbnail(overview(self._workspace, image=image).picture, _PICTURE_SIDE)
            blocks.append({"type": "text", "text": f"{image.name}:"})
            blocks.append({"type": "image", "base64": png_base64(picture), "mime_type": "image/png"})
        return handler(request.override(messages=[*request.messages, HumanMessage(blocks)]))


class Summary(SummarizationMiddleware[AgentState[Any], Run]):
    """LangChain's summaries of long conversations, within the budget of the run."""

    def before_model(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """Summarize the older part of a long conversation."""
        run = runtime.context
        with get_usage_metadata_callback() as tracked:
            changed = run.call_within_budget(lambda: super(Summary, self).before_model(state, runtime))
        for usage in tracked.usage_metadata.values():
            read, written = run.summaries
            run.summaries = (read + usage["input_tokens"], written + usage["output_tokens"])
        return changed


def record_reply(
    run: Run, kind: str, name: str, arguments: Mapping[str, Any], reply: ToolReply, start: StepStart, *, failed: bool
) -> None:
    """Record the step of a tool."""
    data = reply.data
    image = data.get("image")
    answers = [each.answer if isinstance(each, Asked) else each for each in answers_in(reply.result)]
    run.record(
        kind,
        name,
        reply.text,
        start,
        arguments=dict(arguments),
        regions=tuple(region.name for region in reply.regions),
        image=image if isinstance(image, str) else None,
        data=data,
        result=reply.result,
        error=failed,
        input_tokens=sum(each.usage.prompt_tokens for each in answers),
        output_tokens=sum(each.usage.completion_tokens for each in answers),
    )


def _preceding_calls(request: ToolCallRequest) -> list[str]:
    """Return the ids of the unanswered calls that precede this one in the same message."""
    messages = request.state["messages"]
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    ids = next(([call["id"] for call in m.tool_calls] for m in reversed(messages) if isinstance(m, AIMessage)), [])
    before = ids[: ids.index(request.tool_call["id"])] if request.tool_call["id"] in ids else []
    return [str(each) for each in before if each not in answered]
