"""Whether work goes on: it may be cancelled from another thread, and it may have a deadline."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any, TypeVar

from roi_agent.model.errors import Cancelled, DeadlineExceeded

_T = TypeVar("_T")


class Cancellation:
    """Ends work between two of its steps, at which it calls `check`.

    timeout_s: seconds from now that it has.  stop: a signal of somebody else, which cancels it too.
    """

    def __init__(self, timeout_s: float | None = None, *, stop: threading.Event | None = None) -> None:
        self.timeout_s, self._stop = timeout_s, stop
        self._begun = self._checked = time.monotonic()
        self._cancelled, self._callbacks = False, list[Callable[[], object]]()

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline, never below zero; None without one."""
        return None if self.timeout_s is None else max(0.0, self._begun + self.timeout_s - time.monotonic())

    @property
    def step_s(self) -> float:
        """Seconds since the last check: how long the work has been at its present step."""
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
        """Go on, or not.  doing: what is done, in words.  Errors: Cancelled, DeadlineExceeded."""
        self._checked = time.monotonic()
        if self.cancelled:
            raise Cancelled(f"the work was cancelled while {doing}")
        if self.left_s == 0:
            raise self.deadline_error(doing)

    def deadline_error(self, doing: str) -> DeadlineExceeded:
        """The error of a deadline that has passed."""
        return DeadlineExceeded(f"the {self.timeout_s:g} seconds were over while {doing}", do="give it more time, or less to do")


NEVER = Cancellation()  # of work that nobody ends
POLL_S = 0.1  # seconds between two looks of work that waits for something else


def takes_cancellation(function: Callable[..., Any]) -> bool:
    """Whether a model's method has the argument; one of the user's own need not."""
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "cancellation" in parameters or any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())


def cancellation_argument(function: Callable[..., Any], cancellation: Cancellation) -> dict[str, Any]:
    """The argument for a model's method, where it takes one and somebody may end the work."""
    return {"cancellation": cancellation} if cancellation is not NEVER and takes_cancellation(function) else {}


async def run_in_thread(work: Callable[[], _T], cancellation: Cancellation, doing: str) -> _T:
    """The result of blocking work that looks at the cancellation.

    A task that is cancelled here cancels it, and so does the deadline; neither waits for the step that the work is at.
    doing: what is done, in words.  Error: DeadlineExceeded.
    """

    def done() -> _T:
        try:
            return work()
        except StopIteration as error:  # which a future cannot hold: whoever waits for it would wait for ever
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
    """Nobody looks any more at the error of work that was given up, of which asyncio would complain."""
    if not ended.cancelled():
        ended.exception()
