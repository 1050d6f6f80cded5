"""Results of models with what else is known of them, typed until they are written out."""

from dataclasses import dataclass
from typing import Any

from roi_agent.model.domain.domains import known_images
from roi_agent.model.protocol.answers import Choice
from roi_agent.tools.ask import Asked
from roi_agent.tools.detect import Detection


@dataclass(frozen=True, slots=True)
class Judged:
    """A result, and the only kind of images that its model knows, such as nano the toy world; None for one without a limit.

    A model with such a limit must not overrule one that knows more.
    """

    result: Asked | Detection
    knows: str | None

    @classmethod
    def by(cls, model: object, result: Asked | Detection) -> "Judged":
        """The result of a model."""
        return cls(result, known_images(model))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.result.to_dict() | {"knows": self.knows}


@dataclass(frozen=True, slots=True)
class Each:
    """One answer for each of many regions."""

    answers: tuple[Judged, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"answers": [each.to_dict() for each in self.answers]}


def answers_in(result: object) -> tuple[Asked | Choice, ...]:
    """What the region model answered; empty for the result of another model."""
    if isinstance(result, Each):
        return tuple(answer for each in result.answers for answer in answers_in(each))
    if isinstance(result, Judged):
        return answers_in(result.result)
    return (result,) if isinstance(result, Asked | Choice) else ()
