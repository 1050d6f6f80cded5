"""Bounded queues for blocking work of one kind, such as detection, with a deadline for each call."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from roi_agent.model.errors import DeadlineExceeded, QueueFull
from roi_agent.model.utils.cancellation import POLL_S, Cancellation, run_in_thread

KINDS = ("detect", "segment")
_WAITING = "waiting in the queue"
_T = TypeVar("_T")


class Lane:
    """Runs a limited amount of blocking work at once and queues a limited amount.  Safe for threads and event loops."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._at_once, self._capacity = at_once, at_once + waiting
        self._inside: list[Future[None]] = []  # the turns of all calls in order; a turn is done once it has come
        self._running: set[Cancellation] = set()
        self._lock = threading.Lock()

    @property
    def step_s(self) -> float:
        """Seconds since the work began its current step; 0 if none is running."""
        return max((each.step_s for each in tuple(self._running)), default=0.0)

    async def run(self, work: Callable[[], _T], cancellation: Cancellation | None = None) -> _T:
        """Return the result of the work, which checks the cancellation; cancelling the task cancels the work.

        The work runs in a thread. A caller that stops waiting does not wait for the current step either.
        Errors: QueueFull, and DeadlineExceeded, which includes the time in the queue.
        """
        stop, turn = cancellation or Cancellation(), self._enter()
        try:
            async with asyncio.timeout(stop.left_s):
                await asyncio.wrap_future(turn)
        except TimeoutError:
            self._leave(turn)
            raise stop.deadline_error(_WAITING) from None
        except BaseException:
            self._leave(turn)
            raise
        return await run_in_thread(lambda: self._execute(work, stop, turn), stop, "at work")

    def call(self, work: Callable[[], _T], cancellation: Cancellation) -> _T:
        """As `run`, in the calling thread.  Errors: those of `run`, and Cancelled."""
        turn = self._enter()
        try:
            while not turn.done():
                cancellation.check(_WAITING)
                wait([turn], POLL_S)
        except BaseException:
            self._leave(turn)
            raise
        return self._execute(work, cancellation, turn)

    def _execute(self, work: Callable[[], _T], stop: Cancellation, turn: "Future[None]") -> _T:
        """Run the work; abandoned work occupies its place until it ends."""
        try:
            stop.check(_WAITING)
            self._running.add(stop)
            return work()
        finally:
            self._running.discard(stop)
            self._leave(turn)

    def _enter(self) -> "Future[None]":
        """Return a turn, which is done once it has come.  Error: QueueFull."""
        turn: Future[None] = Future()
        turn.set_running_or_notify_cancel()  # only the lane completes it from now on
        with self._lock:
            if len(self._inside) >= self._capacity:
                raise QueueFull(f"{len(self._inside)} calls are already waiting", do="try again in a moment")
            self._inside.append(turn)
            self._call_next()
        return turn

    def _leave(self, turn: "Future[None]") -> None:
        with self._lock:
            self._inside.remove(turn)
            self._call_next()

    def _call_next(self) -> None:
        for turn in self._inside[: self._at_once]:
            if not turn.done():
                turn.set_result(None)


@dataclass(frozen=True, slots=True)
class Job(Generic[_T]):
    """Work for a lane.  kind: `detect` or `segment`.  work: takes its cancellation.  timeout_s: deadline in seconds."""

    kind: str
    work: Callable[[Cancellation], _T]
    timeout_s: float | None = None

    def __call__(self) -> _T:
        """Run the work in the current thread."""
        return self.work(Cancellation(self.timeout_s))


class Lanes:
    """One lane per kind of work, so that the kinds do not wait for each other.

    waiting: queue length of a lane.  timeout_s: default deadline of a job.
    """

    def __init__(self, *, waiting: int = 32, timeout_s: float = 120.0) -> None:
        self.timeout_s, self._lanes = timeout_s, {kind: Lane(at_once=1, waiting=waiting) for kind in KINDS}

    async def run(self, job: Job[_T]) -> _T:
        """Return the result of a job.  Errors: as in `Lane.run`."""
        stop = Cancellation(job.timeout_s or self.timeout_s)
        return await self._lanes[job.kind].run(lambda: job.work(stop), stop)

    def call(self, kind: str, work: Callable[[], _T], cancellation: Cancellation) -> _T:
        """Run work in the calling thread.  Errors: as in `Lane.call`."""
        return self._lanes[kind].call(work, cancellation)

    def check(self, patience_s: float) -> None:
        """Check that no lane has been at one step for longer than `patience_s`.  Error: DeadlineExceeded."""
        for kind, lane in self._lanes.items():
            if lane.step_s > patience_s:
                problem = f"the lane for {kind} has been at one step for {lane.step_s:.0f} seconds"
                raise DeadlineExceeded(problem, do="look at the server's load and its logs; restart it if this persists")
