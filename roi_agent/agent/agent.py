"""The public agent: `build_agent`, then `run`, `arun`, `stream` and `resume`."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Signal
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command
from pydantic import BaseModel

from roi_agent.agent.events import Event, Finished, Started, Waiting
from roi_agent.agent.graph import (
    Decision,
    Graph,
    build_graph,
    graph_events,
    last_task,
    pending_approvals,
    resume_value,
    run_config,
)
from roi_agent.agent.inputs import add_inputs, parse_task, workspace_context
from roi_agent.agent.outcome import Ending, conclude, failure_reason
from roi_agent.agent.planners import load_planner, planner_error, planner_name, supports_images
from roi_agent.agent.result import Approval, Budget, Price, Result
from roi_agent.agent.running import Run
from roi_agent.agent.threads import Conversation, Threads
from roi_agent.loading import load_choice
from roi_agent.model.errors import InvalidSetting, RoiAgentError, UnknownThread
from roi_agent.model.utils.messages import escaped
from roi_agent.model_choice import ModelChoice
from roi_agent.planner.chat import OfflinePlanner
from roi_agent.tools.ask import SecondLook
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import InTurn, Toolbox, tool_names
from roi_agent.tools.workspace import Workspace

_NO_COST = Price(0.0, 0.0)

OnApproval = Callable[[Approval], Decision]


def build_agent(
    planner: str | BaseChatModel = "offline",
    region_model: object = "nano",
    detector: object = "nano",
    segmenter: object = "nano",
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    planner_sees: bool | None = None,
    budget: Budget | None = None,
    second_look: bool = True,
    verify: bool = True,
    without: Sequence[str] = (),
    approve: Sequence[str] = (),
    price: Price | None = None,
    folder: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    budget_bytes: int | None = None,
) -> "Agent":
    """Build an agent that answers questions about images.

    planner: "offline", which works by rules and needs no key; "openai:MODEL" or another name in LangChain's format; or any
        LangChain chat model with tool calls.  base_url, api_key: of an OpenAI-compatible server.
    region_model, detector, segmenter, device, dtype, budget_bytes: as in `load_models`.
    planner_sees: whether the planner gets pictures; default: if its provider reports image input.
    second_look: whether uncertain finds and answers get a second look.  verify: whether the agent itself asks about finds that
        the planner did not ask about.
    without: tools to leave out; approve: tools that require approval. Both by name or group: detect, segment, ask, measure,
        view, list.
    price: of the planner's tokens, for `Result.cost`.  folder: stores conversations, so that they survive a restart.
    Errors: InvalidSetting, ModelNotFound, MissingExtra, WorkspaceUnreadable.
    """
    models = load_choice(ModelChoice(region_model, detector, segmenter, device, dtype, budget_bytes))
    limits = budget or Budget()
    chat = load_planner(planner, base_url=base_url, api_key=api_key, timeout_s=limits.seconds, second_look=second_look)
    return Agent(
        chat,
        models,
        budget=limits,
        pictures=supports_images(chat) if planner_sees is None else planner_sees,
        second_look=second_look,
        verify=verify,
        without=without,
        approve=approve,
        price=price,
        folder=folder,
    )


class Agent:
    """Answers questions about images; see `build_agent`.  Thread-safe: runs of one conversation wait for each other.

    in_turn: as in `Toolbox`.
    """

    def __init__(
        self,
        planner: BaseChatModel,
        models: Models,
        *,
        budget: Budget,
        pictures: bool,
        second_look: bool,
        verify: bool,
        without: Sequence[str],
        approve: Sequence[str],
        price: Price | None,
        folder: str | Path | None,
        in_turn: InTurn | None = None,
    ) -> None:
        self.planner, self.models, self.budget, self.price = planner, models, budget, price
        self.planner_name = planner_name(planner)
        self._pictures, self._verify, self._approve = pictures, verify and second_look, tool_names(approve)
        look: SecondLook = "small" if second_look else "never"
        left_out = tool_names(without)
        options: dict[str, Any] = {"without": left_out, "second_look": look, "in_turn": in_turn}
        self._threads = Threads(lambda workspace: Toolbox(workspace, models, **options), folder)

    def run(
        self,
        image: object = None,
        task: str = "",
        *,
        regions: object = (),
        thread: str | None = None,
        answer_as: type[BaseModel] | None = None,
        on_approval: OnApproval | None = None,
        config: dict[str, Any] | None = None,
    ) -> Result:
        """Work on a task until it is answered or the budget ends.

        image: anything that `load_image` accepts, or a list; None continues with the images of the thread.
        regions: boxes in the first image, as in `parse_regions`.
        thread: the conversation; default: a new one, whose name is in the result.
        answer_as: a pydantic class; the result's `data` is an instance of it.
        on_approval: decides on each call that requires approval; without it, the result has the status "waiting".
        config: for LangChain, such as {"callbacks": [...]} and tags.
        Errors: those of images and boxes, InvalidSetting, and PlannerFailed if the planner fails before any tool has run.
        """
        events = self.stream(
            image, task, regions=regions, thread=thread, answer_as=answer_as, on_approval=on_approval, config=config, words=False
        )
        return _final_result(events)

    async def arun(self, image: object = None, task: str = "", **options: Any) -> Result:
        """As `run`, without blocking the event loop; cancelling the task ends the run at the next step of its tool."""
        run = Run(self.budget, self.planner_name)
        events = self._stream(image, task, run=run, words=False, **options)
        try:
            return await asyncio.to_thread(_final_result, events)
        except asyncio.CancelledError:
            run.cancellation.cancel()
            raise

    def stream(
        self, image: object = None, task: str = "", *, words: bool = True, stop: Signal | None = None, **options: Any
    ) -> Iterator[Event]:
        """As `run`, but yield events; the last one is `Finished` with the result.

        words: also stream the planner's text.
        stop: a `threading.Event`; once it is set, the run ends at the next step of its tool, with what it has found.
        """
        run = Run(self.budget, self.planner_name, stopping=stop)
        return self._stream(image, task, run=run, words=words, **options)

    def resume(
        self,
        thread: str,
        decisions: Sequence[Decision],
        *,
        answer_as: type[BaseModel] | None = None,
        config: dict[str, Any] | None = None,
    ) -> Result:
        """Resume a run that waits for approval.

        decisions: for each call of `Result.waiting`: True, False, or the arguments to use instead.
        Errors: UnknownThread if no run is waiting, InvalidSetting for a wrong number of decisions.
        """
        conversation = self._threads.open(thread)
        with conversation.lock:
            graph = self._graph(conversation, answer_as)
            run = Run(self.budget, self.planner_name, conversation.workspace)
            settings = run_config(conversation, config, run)
            interrupts = graph.get_state(settings).interrupts
            calls = [call for interrupt in interrupts for call in pending_approvals(interrupt.value)]
            if not calls:
                raise UnknownThread(f"no run is waiting in the thread {escaped(thread)}", do="run a task first")
            if len(decisions) != len(calls):
                raise InvalidSetting(f"{len(decisions)} decisions for {len(calls)} calls", do="give one for each")
            job = _Job(conversation, graph, settings, run, last_task(graph, settings), answer_as)
            return _final_result(self._events(job, Command(resume=resume_value(calls, decisions))))

    def workspace(self, thread: str) -> Workspace:
        """Return the images and regions of a conversation."""
        return self._threads.open(thread).workspace

    def _stream(
        self,
        image: object,
        task: str,
        *,
        run: Run,
        regions: object = (),
        thread: str | None = None,
        answer_as: type[BaseModel] | None = None,
        on_approval: OnApproval | None = None,
        config: dict[str, Any] | None = None,
        words: bool = True,
    ) -> Iterator[Event]:
        text = parse_task(task)
        conversation = self._threads.open(thread)
        with conversation.lock:
            images = add_inputs(conversation, image, regions)
            run.workspace = conversation.workspace
            yield Started(text, conversation.thread, self.planner_name, images)
            graph = self._graph(conversation, answer_as)
            settings = run_config(conversation, config, run)
            job = _Job(conversation, graph, settings, run, text, answer_as, on_approval, words)
            blocks = [workspace_context(conversation.workspace), text]
            message = HumanMessage([{"type": "text", "text": block} for block in blocks])
            yield from self._events(job, {"messages": [message]})

    def _events(self, job: "_Job", given: Any) -> Iterator[Event]:
        """Run the graph to the end, with a pause for each approval."""
        run, waiting = job.run, tuple[Approval, ...]()
        while given is not None:
            waiting, failure = (), None
            try:
                for event in graph_events(job.graph, given, run, job.settings, job.words):
                    if isinstance(event, Waiting):
                        waiting = event.calls
                    else:
                        yield event
            except RoiAgentError:
                raise
            except Exception as error:  # any exception of a planner's package; the run ends with what it has found
                failure = error
            yield from run.drain_events()
            given = None
            if failure is not None:
                run.stop(failure_reason(failure, run))
                if not isinstance(failure, TimeoutError) and not any(step.kind == "tool" for step in run.steps):
                    raise planner_error(failure, self.planner_name) from None
            elif waiting and job.on_approval is not None:
                given = Command(resume=resume_value(waiting, [job.on_approval(call) for call in waiting]))
        messages = job.graph.get_state(job.settings).values.get("messages", [])
        ending = Ending(job.task, messages, waiting, job.answer_as, run.data)
        price = self.price or (_NO_COST if isinstance(self.planner, OfflinePlanner) else None)
        result = conclude(ending, run, job.conversation, self.models, verify=self._verify, price=price)
        yield from run.drain_events()
        if waiting:
            yield Waiting(waiting)
        yield Finished(result)

    def _graph(self, conversation: Conversation, answer_as: type[BaseModel] | None) -> Graph:
        return build_graph(
            self.planner,
            conversation,
            self._threads.checkpointer,
            approve=self._approve,
            pictures=self._pictures,
            answer_as=answer_as,
        )


@dataclass(frozen=True, slots=True)
class _Job:
    """The inputs of one run.  words: whether to stream the planner's text."""

    conversation: Conversation
    graph: Graph
    settings: RunnableConfig
    run: Run
    task: str
    answer_as: type[BaseModel] | None = None
    on_approval: OnApproval | None = None
    words: bool = False


def _final_result(events: Iterator[Event]) -> Result:
    result: Result | None = None
    for event in events:
        if isinstance(event, Finished):
            result = event.result
    assert result is not None
    return result
