"""The agent's graph: LangChain's agent with our tools and middleware, and its events."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel

from roi_agent.agent.events import Event, Waiting, Words
from roi_agent.agent.middleware import ShowImages, Summary, Supervision
from roi_agent.agent.planners import is_unreadable
from roi_agent.agent.result import Approval
from roi_agent.agent.running import Deadline, Run
from roi_agent.agent.threads import Conversation
from roi_agent.planner.chat import OfflinePlanner
from roi_agent.prompts import load_blocks
from roi_agent.tools.toolbox import CANCELLATION

_SUMMARIZE_AT_TOKENS = 30_000  # length of a conversation from which its older part is summarized
_KEEP_TOKENS = 10_000  # newest part, which is not summarized

Graph = CompiledStateGraph[Any, Run, Any, Any]
Decision = bool | dict[str, Any]  # approve, reject, or the arguments to use instead


def build_graph(
    planner: BaseChatModel,
    conversation: Conversation,
    checkpointer: BaseCheckpointSaver[str],
    *,
    approve: Sequence[str],
    pictures: bool,
    answer_as: type[BaseModel] | None,
) -> Graph:
    """Build the graph of one conversation.  approve: tools that require approval.  pictures: for planners with image input."""
    offline = isinstance(planner, OfflinePlanner)
    middleware: list[AgentMiddleware[Any, Any]] = []
    if approve:
        middleware.append(HumanInTheLoopMiddleware({name: True for name in approve}))
    middleware.append(Supervision(conversation.save, answer_on_last_turn=not offline))
    if pictures:
        middleware.append(ShowImages(conversation.workspace))
    if not offline:
        middleware.append(ModelRetryMiddleware(max_retries=1, retry_on=is_unreadable, on_failure="error", initial_delay=0.1))
        # The offline planner only reads the last turn and needs no summaries.
        limits: dict[str, Any] = {"trigger": ("tokens", _SUMMARIZE_AT_TOKENS), "keep": ("tokens", _KEEP_TOKENS)}
        middleware.append(Summary(planner, trim_tokens_to_summarize=None, **limits))  # default: the end of the older part only
    texts = load_blocks("agent")
    return create_agent(
        planner,
        conversation.toolbox.tools(),
        system_prompt=texts["system"].format(sight=texts["sight"] if pictures else ""),
        middleware=middleware,
        response_format=ToolStrategy(answer_as) if answer_as is not None else None,
        context_schema=Run,
        checkpointer=checkpointer,
    )


def run_config(conversation: Conversation, config: dict[str, Any] | None, run: Run) -> RunnableConfig:
    """Merge the caller's configuration with that of the agent."""
    named = {"thread_id": conversation.thread, CANCELLATION: run.cancellation}
    own = RunnableConfig(configurable=named, recursion_limit=20 * run.budget.steps + 50)
    # Callbacks of a graph that contains the agent as a node are kept, as they are without a configuration.
    callbacks, deadline = ensure_config(cast("RunnableConfig", config or {})).get("callbacks"), Deadline(run)
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(deadline)
    else:
        callbacks = [*(callbacks or ()), deadline]
    return cast("RunnableConfig", {**(config or {}), **own, "callbacks": callbacks})


def graph_events(graph: Graph, given: Any, run: Run, settings: RunnableConfig, words: bool) -> Iterator[Event]:
    """Run the graph and yield its events.  words: also stream the planner's text.

    Closing the iterator cancels the run, since LangGraph would wait for the running tool.
    """
    modes: list[Any] = ["updates", "messages"] if words else ["updates"]
    chunks: Iterator[tuple[str, Any]] = graph.stream(given, settings, context=run, stream_mode=modes)  # type: ignore[assignment]
    try:
        for mode, chunk in chunks:
            if mode == "messages":
                message, about = chunk
                if isinstance(message, AIMessageChunk) and message.text and about.get("langgraph_node") == "model":
                    yield Words(message.text)
                continue
            yield from run.drain_events()
            for interrupt in chunk.get("__interrupt__", ()):
                yield Waiting(pending_approvals(interrupt.value))
    except GeneratorExit:
        run.cancellation.cancel()
        raise


def pending_approvals(value: Any) -> tuple[Approval, ...]:
    """Return the calls of an interrupt that require approval."""
    return tuple(Approval(call["name"], call["args"]) for call in value["action_requests"])


def resume_value(calls: Sequence[Approval], decisions: Sequence[Decision]) -> dict[str, Any]:
    """Convert decisions to LangChain's format."""
    decided_calls: list[dict[str, Any]] = []
    for call, decision in zip(calls, decisions, strict=True):
        if isinstance(decision, dict):
            decided_calls.append({"type": "edit", "edited_action": {"name": call.tool, "args": decision}})
        elif decision:
            decided_calls.append({"type": "approve"})
        else:
            decided_calls.append({"type": "reject", "message": f"{call.tool} was not approved"})
    return {"decisions": decided_calls}


def last_task(graph: Graph, settings: RunnableConfig) -> str:
    """Return the last task of a conversation."""
    messages = graph.get_state(settings).values["messages"]
    task = next(message for message in reversed(messages) if isinstance(message, HumanMessage))
    return task.text if isinstance(task.content, str) else str(task.content[-1]["text"])  # type: ignore[index]
