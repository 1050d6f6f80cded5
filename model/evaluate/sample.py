"""One question of a bench to a model, and what the model said."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn

RIGHT, SHUFFLED = "right", "shuffled"  # boxes: where the regions are, or where they are not

Key = tuple[str, int, str, str]  # record, turn, part, boxes


@dataclass(frozen=True, slots=True)
class Sample:
    """A question, as it is asked, and its right answer.

    record, turn, part: which question of the data set, and in which of the bench's ways.  boxes: RIGHT or SHUFFLED.
    image: as in the record.  turns: the last one is open.  regions: those that the model is given.
    options: to choose from by likelihood; where there are none, at most `new_tokens` are written.
    truth: the right answer, an option where there are options.  references: all right answers that people gave.
    letters: the choices of a lettered question, A first.
    """

    record: str
    turn: int
    part: str
    image: str
    turns: tuple[Turn, ...]
    regions: tuple[Region, ...]
    truth: str
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    letters: tuple[str, ...] = ()
    new_tokens: int = 64
    boxes: str = RIGHT

    @property
    def key(self) -> Key:
        """What an output is found by."""
        return self.record, self.turn, self.part, self.boxes

    def digest(self) -> str:
        """What was asked, in 16 hexadecimal digits: equal exactly for equal questions to a model."""
        asked = {
            "image": self.image,
            "turns": [(turn.question, turn.answer) for turn in self.turns],
            "regions": [(each.name, each.box.xyxy, each.mask.to_coco() if each.mask else None) for each in self.regions],
            "options": self.options,
            "new_tokens": None if self.options else self.new_tokens,
        }
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Output:
    """What a model said to a sample.

    text: what it wrote, or the option that it chose.  scores: of the options, mean log-probabilities.
    finish: of a written answer, "stop" or "length".
    trouble, problem: the code and the words of the error where it could not be asked; such a sample counts as wrong.
    """

    record: str
    turn: int
    part: str
    boxes: str
    digest: str
    text: str = ""
    scores: tuple[float, ...] = ()
    finish: str = ""
    error: str = ""
    problem: str = ""

    @property
    def key(self) -> Key:
        """The sample's."""
        return self.record, self.turn, self.part, self.boxes

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; empty fields are left out."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if value not in ("", ())
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Output":
        """Raises TypeError or KeyError for what is no output."""
        return cls(**{**values, "scores": tuple(values.get("scores", ()))})


@dataclass(frozen=True, slots=True)
class Prediction:
    """A sample with its output."""

    sample: Sample
    output: Output

    @property
    def is_right_choice(self) -> bool:
        """Whether the right option was the likeliest."""
        return not self.output.error and self.output.text == self.sample.truth
