"""Checks of a region model's answers, and the notes of the image that are added to them."""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

from roi_agent.model.errors import ModelOutputInvalid
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, AnswerStream, Choice, Timing, Usage
from roi_agent.model.utils.messages import escaped

_AnswerOrChoice = TypeVar("_AnswerOrChoice", Answer, Choice)
# Required types of an answer's fields, so that every interface can show them.
_FIELD_TYPES: dict[str, Any] = {
    "text": str,
    "confidence": Real | None,
    "regions": tuple | list,
    "usage": Usage,
    "timing": Timing,
    "notes": tuple | list,
}


def with_notes(answer: _AnswerOrChoice, image: LoadedImage, notes: Sequence[str] = ()) -> _AnswerOrChoice:
    """Return an answer or a choice with the notes of its image, each once; models need not repeat them.

    notes: further notes.  Error: ModelOutputInvalid if it is not an answer.
    """
    return replace(answer, notes=tuple(dict.fromkeys((*image.notes, *checked_answer(answer).notes, *notes))))


def checked_answer(answer: _AnswerOrChoice) -> _AnswerOrChoice:
    """Return what a model, possibly the user's own, returned.  Error: ModelOutputInvalid if it is not an answer."""
    if not isinstance(answer, Answer | Choice):
        raise ModelOutputInvalid(f"the region model returned {escaped(answer)}", do="return an Answer, or a Choice of options")
    for name, kind in _FIELD_TYPES.items():
        value = getattr(answer, name)
        if not isinstance(value, kind) or (isinstance(value, Real) and not math.isfinite(value)):
            problem = f"the region model returned an answer whose {name} is {escaped(value)}"
            raise ModelOutputInvalid(problem, do="set the fields of Answer to values of their types")
    return answer


class WholeAnswer(AnswerStream):
    """A finished answer as a stream of one piece."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        yield self._answer.text

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self._answer.text

    def answer(self) -> Answer:
        return self._answer

    def cancel(self) -> None:
        """Do nothing: the answer is finished."""


class NotedStream(AnswerStream):
    """A stream whose answer gets further notes."""

    def __init__(self, stream: AnswerStream, image: LoadedImage, notes: tuple[str, ...]) -> None:
        self._stream, self._image, self._notes = stream, image, notes

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __aiter__(self) -> AsyncIterator[str]:
        return aiter(self._stream)

    def answer(self) -> Answer:
        return with_notes(self._stream.answer(), self._image, self._notes)

    def cancel(self) -> None:
        self._stream.cancel()
