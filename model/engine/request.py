"""A question on its way through the engine, and what becomes of it."""

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
    """A written token.  logprob: before any sampling option.  likeliest: token ids and log-probabilities, the likeliest first."""

    id: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote.

    tokens: those of the text, without what ended it.  read, cached: tokens of the prompt, and how many of them were kept from an
    earlier question.  count: tokens written in all.  finish: "stop" or "length".
    total_s, image_s, first_s: seconds in all, for the image, and until the first token.  notes: on the image.
    score: for a text that was given and not written, its mean log-probability.
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
    """A question as tensors' values.

    ids: the whole prompt.  regions: whose features the prompt carries, in order.
    stream: tell the text token by token, and not only at the end.
    labels: where a text is to be scored and not written: those of `GPT4RoIProcessor.encode_option`, for every id itself or -100.
    """

    image: LoadedImage
    ids: Sequence[int]
    regions: Sequence[Region]
    decoding: Decoding
    labels: Sequence[int] | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        self.image.digest()  # here, where whoever asks waits for it, and not in the engine's thread


@dataclass(eq=False)
class RequestHandle:
    """A request that was handed in.  Iterating gives the text in pieces as it is written; `result` waits for the end."""

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

    # ------------------------------------------------------------ for whoever asks

    def result(self, cancellation: Cancellation = NEVER) -> Completion:
        """Wait for the whole answer, while the cancellation allows.  Errors: DeadlineExceeded, Cancelled, those of the model."""
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
        self._pieces.put(None)  # whoever iterates again finds the end, and does not wait for ever
        self._future.result()

    async def wait(self) -> Completion:
        """As `result`; a task that is cancelled takes the request back."""
        ended = asyncio.wrap_future(self._future)
        ended.add_done_callback(_seen)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def pieces(self) -> AsyncGenerator[str, None]:
        """As iterating; one that is left early takes the request back."""
        loop, waiting = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        self._listen(lambda piece: _hand_over(loop, waiting, piece))
        try:
            while (piece := await waiting.get()) is not None:
                yield piece
            await self.wait()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Take the request back; its place is free at the engine's next step.  What is done already stays done."""
        self._cancelled = True

    # ------------------------------------------------------------ for the engine

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def seconds(self) -> float:
        """Since it was handed in."""
        return time.monotonic() - self.begun

    def ended(self, doing: str) -> Cancelled | DeadlineExceeded | None:
        """Why it must not go on, if so.  doing: what it is at, in words."""
        if self._cancelled:
            return Cancelled(f"the question was taken back while it was {doing}")
        limit = self.request.decoding.timeout_s
        if limit is not None and self.seconds() > limit:
            problem = f"the {limit:g} seconds of the question were over while it was {doing}"
            return DeadlineExceeded(problem, do="give it more time")
        return None

    def tell(self, piece: str) -> None:
        """Hand out a piece of the text."""
        with self._lock:
            self._pieces.put(piece)
            for listener in self._listeners:
                listener(piece)

    def finish(self, outcome: Completion | BaseException) -> None:
        """End it."""
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


def _seen(ended: "asyncio.Future[Completion]") -> None:
    """Whoever stopped waiting does not look at the error any more, of which asyncio would complain."""
    if not ended.cancelled():
        ended.exception()


def _hand_over(loop: asyncio.AbstractEventLoop, waiting: "asyncio.Queue[str | None]", piece: str | None) -> None:
    if not loop.is_closed():  # whoever listened has gone
        loop.call_soon_threadsafe(waiting.put_nowait, piece)
