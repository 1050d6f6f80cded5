"""Requests to the engine, their handles, and completions."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from queue import SimpleQueue

from roi_agent.model.errors import Cancelled, DeadlineExceeded
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.utils.cancellation import NEVER, POLL_S, Cancellation


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token.  logprob: before sampling options.  likeliest: token ids and log-probabilities, most likely first."""

    id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of a request.

    tokens: of the text, without the end marker.  read, cached: prompt tokens, and how many of them came from the cache.
    count: tokens generated, the end marker included.  finish: "stop" or "length".
    total_s, image_s, first_s: seconds in total, for encoding the image, and until the first token.  notes: on the image.
    score: mean log-probability of a given text, for a request that scores one.
    """

    text: str
    tokens: tuple[Token, ...]
    read: int
    cached: int
    count: int
    finish: str
    total_s: float
    image_s: float
    first_s: float
    notes: tuple[str, ...] = ()
    score: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """A tokenized question.

    ids: the whole prompt.  regions: in the order of the region tokens.
    stream: emit the text token by token, not only at the end.
    labels: to score a given text instead of generating one: the labels of `GPT4RoIProcessor.encode_option`, an id or -100 each.
    """

    image: LoadedImage
    ids: Sequence[int]
    regions: Sequence[Region]
    decoding: Decoding
    labels: Sequence[int] | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        self.image.digest()  # computed in the caller's thread, not in the engine's


@dataclass(eq=False)
class RequestHandle:
    """A submitted request.  Iterating yields the text as it is generated; `result` waits for the end."""

    request: Request
    begun: float = field(default_factory=time.monotonic)
    cached: bool = False
    image_s: float = 0.0
    first_s: float = 0.0
    _future: Future[Completion] = field(default_factory=Future)
    _pieces: SimpleQueue[str | None] = field(default_factory=SimpleQueue)
    _listeners: list[Callable[[str | None], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cancelled: bool = False

    # ------------------------------------------------------------ for the caller

    def result(self, cancellation: Cancellation = NEVER) -> Completion:
        """Wait for the completion until cancelled.  Errors: DeadlineExceeded, Cancelled, those of the model."""
        try:
            while cancellation is not NEVER and not self.done:
                cancellation.check("answering")
                wait([self._future], POLL_S)
            return self._future.result()
        except KeyboardInterrupt:
            self.cancel()
            raise

    def __iter__(self) -> Iterator[str]:
        while (piece := self._pieces.get()) is not None:
            yield piece
        self._pieces.put(None)  # a second iteration ends at once
        self._future.result()

    async def wait(self) -> Completion:
        """As `result`; cancelling the task cancels the request."""
        ended = asyncio.wrap_future(self._future)
        ended.add_done_callback(_retrieve_error)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def pieces(self) -> AsyncGenerator[str, None]:
        """As iterating; leaving the loop early cancels the request."""
        loop, waiting = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        self._listen(lambda piece: _post(loop, waiting, piece))
        try:
            while (piece := await waiting.get()) is not None:
                yield piece
            await self.wait()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Cancel the request; its slot is free at the engine's next step.  A finished request stays finished."""
        self._cancelled = True

    # ------------------------------------------------------------ for the engine

    @property
    def done(self) -> bool:
        """Whether the request has finished, with or without an error."""
        return self._future.done()

    def seconds(self) -> float:
        """Seconds since submission."""
        return time.monotonic() - self.begun

    def ended(self, doing: str) -> Cancelled | DeadlineExceeded | None:
        """The reason to stop the request, if there is one.  doing: its current state, for the message."""
        if self._cancelled:
            return Cancelled(f"the question was cancelled while {doing}")
        limit = self.request.decoding.timeout_s
        if limit is not None and self.seconds() > limit:
            problem = f"the question's time limit of {limit:g} seconds passed while {doing}"
            return DeadlineExceeded(problem, do="give it more time")
        return None

    def emit(self, piece: str) -> None:
        """Emit a piece of the text."""
        with self._lock:
            self._pieces.put(piece)
            for listener in self._listeners:
                listener(piece)

    def finish(self, outcome: Completion | BaseException) -> None:
        """Set the result or the error."""
        if self.done:
            return
        if isinstance(outcome, BaseException):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)
        with self._lock:
            self._pieces.put(None)
            for listener in self._listeners:
                listener(None)

    def _listen(self, listener: Callable[[str | None], None]) -> None:
        with self._lock:
            while not self._pieces.empty():
                listener(self._pieces.get())
            self._listeners.append(listener)


def _retrieve_error(ended: "asyncio.Future[Completion]") -> None:
    """Retrieve the error of an abandoned wait, about which asyncio would warn."""
    if not ended.cancelled():
        ended.exception()


def _post(loop: asyncio.AbstractEventLoop, waiting: "asyncio.Queue[str | None]", piece: str | None) -> None:
    if not loop.is_closed():  # the listener is gone
        loop.call_soon_threadsafe(waiting.put_nowait, piece)
