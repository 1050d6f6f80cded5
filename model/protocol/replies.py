"""What a region model answered, perhaps one of the user's own: checked, and with the notes of its image."""

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

from roi_agent.model.errors import ModelOutputInvalid
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, AnswerStream, Choice, Timing, Usage
from roi_agent.model.utils.messages import escaped

_AnswerOrChoice = TypeVar("_Given", Answer, Choice)
# What the fields of an answer must be, so that every door can show them.
_FIELD_TYPES: dict[str, Any] = {
    "text": str,
    "confidence": Real | None,
    "regions": tuple | list,
    "usage": Usage,
    "timing": Timing,
    "notes": tuple | list,
}


def with_notes(answer: _AnswerOrChoice, image: LoadedImage, notes: Sequence[str] = ()) -> _AnswerOrChoice:
    """An answer or a choice with the notes of its image, each once: models need not repeat them.

    notes: more of them.  Error: ModelOutputInvalid for what is no answer.
    """
    return replace(answer, notes=tuple(dict.fromkeys((*image.notes, *checked_answer(answer).notes, *notes))))


def checked_answer(answer: _AnswerOrChoice) -> _AnswerOrChoice:
    """What a model, perhaps the user's own, returned.  Error: ModelOutputInvalid where that is no answer."""
    if not isinstance(answer, Answer | Choice):
        raise ModelOutputInvalid(f"the region model returned {escaped(answer)}", do="return an Answer, or a Choice of options")
    for name, kind in _FIELD_TYPES.items():
        value = getattr(answer, name)
        if not isinstance(value, kind) or (isinstance(value, Real) and not math.isfinite(value)):
            problem = f"the region model returned an answer whose {name} is {escaped(value)}"
            raise ModelOutputInvalid(problem, do="fill the fields of Answer as their types say")
    return answer


class WholeAnswer(AnswerStream):
    """An answer that is there already, in one piece."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        yield self._answer.text

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self._answer.text

    def answer(self) -> Answer:
        return self._answer

    def cancel(self) -> None:
        """There is nothing left to stop."""


class NotedStream(AnswerStream):
    """An answer with more notes than the model's own."""

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
