"""Between planner and tools: the budget, the record of every step, and pictures."""

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
from roi_agent.agent.repair import refusal, repaired
from roi_agent.agent.running import Mark, Run
from roi_agent.model.utils.notebook_html import thumbnail
from roi_agent.prompts import load_blocks
from roi_agent.tools.ask import Asked
from roi_agent.tools.reply import Artifact, ToolReply, png_base64
from roi_agent.tools.results import answers_in
from roi_agent.tools.view import overview
from roi_agent.tools.workspace import Workspace

_NUDGES = 2  # empty messages that are answered before the run ends
_REPEATS = 2  # times that the very same call is run
_PICTURE_SIDE = 1024  # pixels of a picture for the planner, at most


class Supervision(AgentMiddleware[AgentState[Any], Run]):
    """Holds a run to its budget, and records its steps.

    saved: called after every tool, to keep the workspace.  answers_at_last: whether the planner's last turn has no tools.
    """

    def __init__(self, saved: Callable[[], None], *, answers_at_last: bool = True) -> None:
        super().__init__()
        self._saved, self._answers_at_last = saved, answers_at_last
        self._texts = load_blocks("agent")

    # ------------------------------------------------------------ before

    def before_agent(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """Answer calls that an interrupted run left open: chat models refuse a conversation that has any."""
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
        """End where the budget is used up."""
        return {"jump_to": "end"} if runtime.context.why_stopped else None

    # ------------------------------------------------------------ the planner's turn

    def wrap_model_call(self, request: ModelRequest[Run], handler: Callable[[ModelRequest[Run]], ModelResponse]) -> ModelResponse:
        """The planner's turn, within the time that is left, recorded."""
        run: Run = request.runtime.context
        if run.steps_left == 1 and run.budget.steps > 1 and self._answers_at_last:
            told = f"{request.system_message.text if request.system_message else ''}\n\n{self._texts['last_step']}"
            request = request.override(tools=[], system_message=SystemMessage(told))
        begun = run.begin()
        response = run.within(lambda: handler(request))
        taken = {str(call["id"]) for each in request.messages if isinstance(each, AIMessage) for call in each.tool_calls}
        message, replies = repaired(response.result, taken, run.budget.calls_per_step)
        usage: Mapping[str, int] = message.usage_metadata or {}  # type: ignore[assignment]
        calls = [{"name": call["name"], "args": call["args"]} for call in message.tool_calls]
        run.record(
            "planner",
            run.planner,
            message.text,
            begun,
            arguments={"calls": calls} if calls else {},
            input_tokens=max(0, usage.get("input_tokens", 0)),
            output_tokens=max(0, usage.get("output_tokens", 0)),
        )
        return ModelResponse([message, *replies], response.structured_response)

    @hook_config(can_jump_to=["model", "end"])
    def after_model(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """End where the budget is used up; ask again where the planner said nothing at all."""
        run, message = runtime.context, state["messages"][-1]
        if not isinstance(message, AIMessage):
            return None
        if run.why_stopped:
            return None if not message.tool_calls else {"jump_to": "end"}
        if message.tool_calls or message.text.strip() or state.get("structured_response") is not None:
            return None
        run.nudges += 1
        if run.nudges > _NUDGES:
            run.stop("the planner gave neither an answer nor a call")
            return {"jump_to": "end"}
        nudge = HumanMessage(self._texts["empty"])
        return {"messages": [RemoveMessage(id=str(message.id)), nudge], "jump_to": "model"}

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """Take the answer in its form out of the conversation, where the next run would meet it again."""
        if state.get("structured_response") is None:
            return None
        runtime.context.data = state["structured_response"]
        return {"structured_response": None}

    # ------------------------------------------------------------ tools

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """One tool, recorded; not run where the budget is used up, or for the same call again and again."""
        run = request.runtime.context
        assert isinstance(run, Run)
        with run.turn_of(str(request.tool_call["id"]), _earlier_calls(request)):
            return self._called(run, request, handler)

    def _called(
        self, run: Run, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        call = request.tool_call
        name, arguments = call["name"], call["args"]
        repeats = run.seen_before(name, arguments)
        refused = None
        if run.why_stopped:
            refused = self._texts["budget"].format(what=run.why_stopped)
        elif repeats >= _REPEATS:
            refused = self._texts["repeated"].format(count=repeats)
        if refused:
            message = refusal(refused, call)
            run.record("tool", name, refused, run.begin(), arguments=arguments, error=True)
            return message
        run.events.append(Calling(name, arguments))
        begun = run.begin()
        replied = handler(request)
        if isinstance(replied, ToolMessage):
            artifact = replied.artifact
            reply = artifact.reply if isinstance(artifact, Artifact) else ToolReply(replied.text)
            failed = replied.status == "error"
            record_reply(run, "tool", name, arguments, replace(reply, text=replied.text), begun, failed=failed)
            if isinstance(artifact, Artifact):
                # A checkpoint keeps every message; the picture can be drawn again.
                replied.artifact = {key: value for key, value in artifact.items() if key != "picture"}
        self._saved()
        return replied


class ShowImages(AgentMiddleware[AgentState[Any], Run]):
    """Shows a planner that sees every image with its regions; only the latest pictures, and never kept."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace

    def wrap_model_call(self, request: ModelRequest[Run], handler: Callable[[ModelRequest[Run]], ModelResponse]) -> ModelResponse:
        """The planner's turn with pictures at its end."""
        blocks: list[str | dict[str, Any]] = [{"type": "text", "text": load_blocks("agent")["pictures"]}]
        images = self._workspace.images
        shown = [image for image in images if image.parent is None] + [image for image in images if image.parent is not None][-1:]
        for image in shown:
            picture = thumbnail(overview(self._workspace, image=image).picture, _PICTURE_SIDE)
            blocks.append({"type": "text", "text": f"{image.name}:"})
            blocks.append({"type": "image", "base64": png_base64(picture), "mime_type": "image/png"})
        return handler(request.override(messages=[*request.messages, HumanMessage(blocks)]))


class Summary(SummarizationMiddleware[AgentState[Any], Run]):
    """LangChain's summaries of long conversations, within the budget of the run."""

    def before_model(self, state: AgentState[Any], runtime: Runtime[Run]) -> dict[str, Any] | None:
        """Summarise the older part where the conversation is long."""
        run = runtime.context
        with get_usage_metadata_callback() as took:
            changed = run.within(lambda: super(Summary, self).before_model(state, runtime))
        for usage in took.usage_metadata.values():
            read, written = run.summaries
            run.summaries = (read + usage["input_tokens"], written + usage["output_tokens"])
        return changed


def record_reply(
    run: Run, kind: str, name: str, arguments: Mapping[str, Any], reply: ToolReply, begun: Mark, *, failed: bool
) -> None:
    """Add the step of a tool."""
    data = reply.data
    image = data.get("image")
    answers = [each.answer if isinstance(each, Asked) else each for each in answers_in(reply.result)]
    run.record(
        kind,
        name,
        reply.text,
        begun,
        arguments=dict(arguments),
        regions=tuple(region.name for region in reply.regions),
        image=image if isinstance(image, str) else None,
        data=data,
        result=reply.result,
        error=failed,
        input_tokens=sum(each.usage.prompt_tokens for each in answers),
        output_tokens=sum(each.usage.completion_tokens for each in answers),
    )


def _earlier_calls(request: ToolCallRequest) -> list[str]:
    """The ids of the calls of the same message that come before this one and that are not answered already."""
    messages = request.state["messages"]
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    ids = next(([call["id"] for call in m.tool_calls] for m in reversed(messages) if isinstance(m, AIMessage)), [])
    before = ids[: ids.index(request.tool_call["id"])] if request.tool_call["id"] in ids else []
    return [str(each) for each in before if each not in answered]
