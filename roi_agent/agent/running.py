"""One run while it goes on: its steps, its events, and what is left of its budget."""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Condition, Thread
from threading import Event as Signal
from typing import Any, TypeVar

from langchain_core.callbacks import BaseCallbackHandler

from roi_agent.agent.events import Event, Stepped
from roi_agent.agent.result import Budget
from roi_agent.model.utils.cancellation import POLL_S, Cancellation
from roi_agent.tools.workspace import Workspace
from roi_agent.trace import Step, Usage

T = TypeVar("T")

CANCELLED = "it was cancelled"


@dataclass(frozen=True, slots=True)
class Mark:
    """The beginning of a step: the time on the monotonic clock, and how many images and regions there were."""

    at: float
    images: int
    regions: int


@dataclass(eq=False, repr=False)
class Run:
    """The state of one run, which LangGraph hands to every hook.

    planner: its name.  workspace: that it works in.  nudges: empty messages so far.
    stopping: a signal of whoever started it.  cancellation: ends the tool that is at work, at that signal or the end of the time.
    summaries: tokens read and written to summarise a long conversation.
    data: the answer in the form that was asked for.
    """

    budget: Budget
    planner: str
    workspace: Workspace = field(default_factory=Workspace)
    steps: list[Step] = field(default_factory=list)
    events: deque[Event] = field(default_factory=deque)
    stopping: Signal | None = None
    nudges: int = 0
    summaries: tuple[int, int] = (0, 0)
    data: Any = None
    _calls: Counter[str] = field(default_factory=Counter)
    _turns: Condition = field(default_factory=Condition)
    _done: set[str] = field(default_factory=set)
    _started: float = field(default_factory=time.monotonic)
    _stopped: str | None = None

    def __post_init__(self) -> None:
        self.cancellation = Cancellation(self.budget.seconds, stop=self.stopping)

    def begin(self) -> Mark:
        """The beginning of a step, for `record`."""
        return Mark(time.monotonic(), len(self.workspace.images), len(self.workspace.regions()))

    def record(self, kind: str, name: str, text: str, begun: Mark, **fields: Any) -> Step:
        """Add a step that ends now, and tell of it."""
        fields |= {"images_before": begun.images, "regions_before": begun.regions}
        step = Step(len(self.steps) + 1, kind, name, text, seconds=time.monotonic() - begun.at, **fields)
        self.steps.append(step)
        self.events.append(Stepped(step))
        return step

    def told(self) -> Iterator[Event]:
        """The events that nobody was told of yet."""
        while self.events:
            yield self.events.popleft()

    def stop(self, why: str) -> None:
        """End the run before its next step; the first reason counts."""
        self._stopped = self._stopped or why

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """Of the budget, never below zero."""
        return max(0.0, self.budget.seconds - self.seconds)

    @property
    def steps_left(self) -> int:
        """Turns of the planner that the budget still allows."""
        return self.budget.steps - self.usage.planner_turns

    @property
    def why_stopped(self) -> str | None:
        """Why the run must end, in words; None while it may go on."""
        usage = self.usage
        if self._stopped is None and self.cancellation.cancelled:
            self._stopped = CANCELLED
        if self._stopped is None and self.steps_left <= 0:
            self._stopped = f"the budget of {self.budget.steps} steps is used up"
        if self._stopped is None and not self.seconds_left:
            self._stopped = f"the budget of {self.budget.seconds:g} seconds is used up"
        tokens = usage.input_tokens + usage.output_tokens
        if self._stopped is None and self.budget.tokens is not None and tokens >= self.budget.tokens:
            self._stopped = f"the budget of {self.budget.tokens} tokens is used up"
        return self._stopped

    @property
    def usage(self) -> Usage:
        """What it took so far."""
        turns = [step for step in self.steps if step.kind == "planner"]
        tools = [step for step in self.steps if step.kind != "planner"]
        return Usage(
            planner_turns=len(turns),
            tool_calls=len(tools),
            input_tokens=self.summaries[0] + sum(step.input_tokens for step in turns),
            output_tokens=self.summaries[1] + sum(step.output_tokens for step in turns),
            region_tokens=sum(step.input_tokens + step.output_tokens for step in tools),
            seconds=self.seconds,
        )

    def seen_before(self, tool: str, arguments: Mapping[str, Any]) -> int:
        """How often the very same call was made in this run; counts this one."""
        key = f"{tool} {sorted(arguments.items(), key=str)}"
        self._calls[key] += 1
        return self._calls[key] - 1

    @contextmanager
    def turn_of(self, call_id: str, earlier: Collection[str]) -> Iterator[None]:
        """Wait until the earlier calls of the same message are done: handles must not depend on a race between tools."""
        with self._turns:
            self._turns.wait_for(lambda: self._done >= set(earlier))
        try:
            yield
        finally:
            with self._turns:
                self._done.add(call_id)
                self._turns.notify_all()

    def within(self, call: Callable[[], T]) -> T:
        """What the call gives, waited for until the budget ends or the run is cancelled.

        Raises TimeoutError; the call is then left alone.
        """
        done: Future[T] = Future()
        context = copy_context()

        def work() -> None:
            try:
                done.set_result(context.run(call))
            except BaseException as error:
                done.set_exception(error)

        Thread(target=work, daemon=True, name="planner").start()
        while not done.done():
            wait([done], timeout=min(POLL_S, self.seconds_left))
            if not done.done() and (self.cancellation.cancelled or not self.seconds_left):
                raise TimeoutError
        try:
            return done.result()
        except _GivenUp as stopped:
            raise TimeoutError from stopped


class Deadline(BaseCallbackHandler):
    """Stops a planner that goes on writing after its run was given up: `Run.within` only stops waiting for it."""

    raise_error = True

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        """Called for every piece of a streamed answer."""
        if self._run.cancellation.cancelled or not self._run.seconds_left:
            raise _GivenUp


class _GivenUp(BaseException):
    """Nobody waits for it; no Exception, of which LangChain would print a warning."""
