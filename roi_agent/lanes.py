"""Lanes for blocking work of one kind, such as finding regions by words: bounded, and each call with a deadline."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from roi_agent.model.errors import DeadlineExceeded, QueueFull
from roi_agent.model.utils.cancellation import POLL_S, Cancellation, run_in_thread

KINDS = ("detect", "segment")
_WAITING = "waiting for its turn"
_T = TypeVar("_T")


class Lane:
    """Runs blocking work: so much at once, and so much waiting.  Safe under threads and event loops."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._at_once, self._most = at_once, at_once + waiting
        self._inside: list[Future[None]] = []  # the turns of all, in their order; those that have come are done
        self._running: set[Cancellation] = set()
        self._lock = threading.Lock()

    @property
    def step_s(self) -> float:
        """Seconds that the work has been at one step; 0 where none runs."""
        return max((each.step_s for each in tuple(self._running)), default=0.0)

    async def run(self, work: Callable[[], _T], cancellation: Cancellation | None = None) -> _T:
        """The result of the work, which looks at the cancellation; a task that is cancelled here cancels it.

        The work is done in a thread, and whoever no longer waits for it does not wait for its step either.
        Errors: QueueFull, and DeadlineExceeded, for which waiting counts.
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
        return await run_in_thread(lambda: self._done(work, stop, turn), stop, "at work")

    def call(self, work: Callable[[], _T], cancellation: Cancellation) -> _T:
        """As `run`, in the thread that calls.  Errors: those of `run`, and Cancelled."""
        turn = self._enter()
        try:
            while not turn.done():
                cancellation.check(_WAITING)
                wait([turn], POLL_S)
        except BaseException:
            self._leave(turn)
            raise
        return self._done(work, cancellation, turn)

    def _done(self, work: Callable[[], _T], stop: Cancellation, turn: "Future[None]") -> _T:
        """Do it; one that was given up takes its place until it ends."""
        try:
            stop.check(_WAITING)
            self._running.add(stop)
            return work()
        finally:
            self._running.discard(stop)
            self._leave(turn)

    def _enter(self) -> "Future[None]":
        """A turn, which is done once it has come.  Error: QueueFull."""
        turn: Future[None] = Future()
        turn.set_running_or_notify_cancel()  # from now on nobody but the lane ends it
        with self._lock:
            if len(self._inside) >= self._most:
                raise QueueFull(f"{len(self._inside)} calls wait already", do="try again in a moment")
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
    """Work for a lane.  kind: `detect` or `segment`.  work: is handed what ends it.  timeout_s: seconds until it must be done."""

    kind: str
    work: Callable[[Cancellation], _T]
    timeout_s: float | None = None

    def __call__(self) -> _T:
        """Do it here and now."""
        return self.work(Cancellation(self.timeout_s))


class Lanes:
    """A lane for each kind of work, so that none waits for the other.

    waiting: calls that wait in a lane.  timeout_s: of a job that names no deadline of its own.
    """

    def __init__(self, *, waiting: int = 32, timeout_s: float = 120.0) -> None:
        self.timeout_s, self._lanes = timeout_s, {kind: Lane(at_once=1, waiting=waiting) for kind in KINDS}

    async def run(self, job: Job[_T]) -> _T:
        """The result of a job.  Errors: as of `Lane.run`."""
        stop = Cancellation(job.timeout_s or self.timeout_s)
        return await self._lanes[job.kind].run(lambda: job.work(stop), stop)

    def call(self, kind: str, work: Callable[[], _T], cancellation: Cancellation) -> _T:
        """The result of work that looks at the cancellation, done in this thread.  Errors: as of `Lane.call`."""
        return self._lanes[kind].call(work, cancellation)

    def check(self, patience_s: float) -> None:
        """Whether work goes on in every lane: none is at one step for longer.  Error: DeadlineExceeded."""
        for kind, lane in self._lanes.items():
            if lane.step_s > patience_s:
                problem = f"the lane for {kind} has been at one step for {lane.step_s:.0f} seconds"
                raise DeadlineExceeded(problem, do="look at the server's load and its logs; restart it where this stays so")
