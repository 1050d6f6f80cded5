"""Cancellation of work from another thread or by a deadline."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any, TypeVar

from roi_agent.model.errors import Cancelled, DeadlineExceeded

_T = TypeVar("_T")
_MORE_TIME = "allow more time, or ask for less"


class Cancellation:
    """Ends work between two of its steps; the work calls `check` before each step.

    timeout_s: seconds until the deadline, from now.  stop: an event that also cancels the work.
    """

    def __init__(self, timeout_s: float | None = None, *, stop: threading.Event | None = None) -> None:
        self.timeout_s, self._stop = timeout_s, stop
        self._begun = self._checked = time.monotonic()
        self._cancelled, self._callbacks = False, list[Callable[[], object]]()

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline, at least 0; None without a deadline."""
        return None if self.timeout_s is None else max(0.0, self._begun + self.timeout_s - time.monotonic())

    @property
    def step_s(self) -> float:
        """Seconds since the last check, which is the time spent in the current step."""
        return time.monotonic() - self._checked

    @property
    def cancelled(self) -> bool:
        """Whether the work must end."""
        return self._cancelled or (self._stop is not None and self._stop.is_set())

    def cancel(self) -> None:
        """End the work at its next check."""
        self._cancelled = True
        for callback in tuple(self._callbacks):
            callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], object]) -> Iterator[None]:
        """Also call this on `cancel` while the context is open, and at once if `cancel` came earlier."""
        self._callbacks.append(callback)
        try:
            if self._cancelled:
                callback()
            yield
        finally:
            self._callbacks.remove(callback)

    def check(self, doing: str) -> None:
        """Raise an error if the work must end.  doing: the work, in words.  Errors: Cancelled, DeadlineExceeded."""
        self._checked = time.monotonic()
        if self.cancelled:
            raise Cancelled(f"the work was cancelled while {doing}")
        if self.left_s == 0:
            raise self.deadline_error(doing)

    def deadline_error(self, doing: str) -> DeadlineExceeded:
        """Return the error for a missed deadline."""
        return DeadlineExceeded(f"the time limit of {self.timeout_s:g} seconds expired while {doing}", do=_MORE_TIME)


NEVER = Cancellation()  # for work that is never cancelled
POLL_S = 0.1  # seconds between two checks of work that waits for something else


def takes_cancellation(function: Callable[..., Any]) -> bool:
    """Whether a model's method takes the argument `cancellation`; methods of a user's own model need not."""
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "cancellation" in parameters or any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())


def cancellation_argument(function: Callable[..., Any], cancellation: Cancellation) -> dict[str, Any]:
    """Return `cancellation` as a keyword argument, if the method takes it and the work can be cancelled."""
    return {"cancellation": cancellation} if cancellation is not NEVER and takes_cancellation(function) else {}


async def run_in_thread(work: Callable[[], _T], cancellation: Cancellation, doing: str) -> _T:
    """Run blocking work in a thread and return its result.

    If this task is cancelled or the deadline passes, the work is cancelled too, without waiting for its current step.
    doing: the work, in words.  Error: DeadlineExceeded.
    """

    def done() -> _T:
        try:
            return work()
        except StopIteration as error:  # a future cannot contain it, so the caller would wait forever
            raise RuntimeError("StopIteration") from error

    working = asyncio.ensure_future(asyncio.to_thread(done))
    try:
        await asyncio.wait([working], timeout=cancellation.left_s)
        if working.done():
            return working.result()
        raise cancellation.deadline_error(doing)
    finally:
        cancellation.cancel()
        working.add_done_callback(_retrieve_error)


def _retrieve_error(ended: "asyncio.Future[Any]") -> None:
    """Retrieve the error of abandoned work, so that asyncio does not log it as never retrieved."""
    if not ended.cancelled():
        ended.exception()
