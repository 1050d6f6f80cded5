"""Streaming answers of the engine."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing

from roi_agent.model.engine.request import RequestHandle
from roi_agent.model.protocol.answers import Answer, AnswerStream


class EngineStream(AnswerStream):
    """The text of a pending answer as it is generated.

    waiting: a context held until the first piece.  answer: returns the whole answer once it is finished.
    """

    def __init__(
        self, pending: RequestHandle, waiting: Callable[[], AbstractContextManager[None]], answer: Callable[[], Answer]
    ) -> None:
        self._pending, self._waiting, self._answer = pending, waiting, answer

    def __iter__(self) -> Iterator[str]:
        pieces = iter(self._pending)
        with self._waiting():
            first = next(pieces, None)
        if first is not None:
            yield first
            yield from pieces

    async def __aiter__(self) -> AsyncIterator[str]:
        async with aclosing(self._pending.pieces()) as pieces:
            with self._waiting():
                first = await anext(pieces, None)
            if first is not None:
                yield first
                async for piece in pieces:
                    yield piece

    def answer(self) -> Answer:
        """The whole answer, once it is finished."""
        return self._answer()

    def cancel(self) -> None:
        """Cancel the question."""
        self._pending.cancel()
