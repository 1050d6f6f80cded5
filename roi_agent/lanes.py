"""Lanes for blocking work of one kind, such as finding regions by words: bounded, and each call with a deadline."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from roi_agent.model.cancellation import Cancellation, in_thread
from roi_agent.model.errors import DeadlineExceeded, QueueFull

KINDS = ("detect", "segment")
_T = TypeVar("_T")


class Lane:
    """Runs blocking work in threads: so much at once, and so much waiting."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._room, self._most, self._inside = asyncio.Semaphore(at_once), at_once + waiting, 0
        self._running: set[Cancellation] = set()

    @property
    def step_s(self) -> float:
        """Seconds that the work has been at one step; 0 where none runs."""
        return max((each.step_s for each in tuple(self._running)), default=0.0)

    async def run(self, work: Callable[[], _T], cancellation: Cancellation | None = None) -> _T:
        """The result of the work, which looks at the cancellation; a task that is cancelled here cancels it.

        Errors: QueueFull, and DeadlineExceeded, for which waiting counts.
        """
        if self._inside >= self._most:
            raise QueueFull(f"{self._inside} calls wait already", do="try again in a moment")
        stop, loop = cancellation or Cancellation(), asyncio.get_running_loop()

        def working() -> _T:
            try:
                stop.check("waiting for its turn")
                self._running.add(stop)
                return work()
            finally:
                self._running.discard(stop)
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._leave)

        self._inside += 1
        try:
            async with asyncio.timeout(stop.left_s):
                await self._room.acquire()
        except TimeoutError:
            self._inside -= 1
            raise stop.too_late("waiting for its turn") from None
        except BaseException:
            self._inside -= 1
            raise
        return await in_thread(working, stop, "at work")

    def _leave(self) -> None:
        """Once the work itself has ended: one that was given up takes its place until then."""
        self._inside -= 1
        self._room.release()


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
        self._timeout_s, self._lanes = timeout_s, {kind: Lane(at_once=1, waiting=waiting) for kind in KINDS}

    async def run(self, job: Job[_T]) -> _T:
        """The result of a job.  Errors: as of `Lane.run`."""
        stop = Cancellation(job.timeout_s or self._timeout_s)
        return await self._lanes[job.kind].run(lambda: job.work(stop), stop)

    def check(self, patience_s: float) -> None:
        """Whether work goes on in every lane: none is at one step for longer.  Error: DeadlineExceeded."""
        for kind, lane in self._lanes.items():
            if lane.step_s > patience_s:
                problem = f"the lane for {kind} has been at one step for {lane.step_s:.0f} seconds"
                raise DeadlineExceeded(problem, do="look at the server's load and its logs; restart it where this stays so")
