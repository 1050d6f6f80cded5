"""One question of a bench, and the model's output."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn

RIGHT, SHUFFLED = "right", "shuffled"  # values of `Sample.boxes`: the regions' own boxes, or other ones

Key = tuple[str, int, str, str]  # record, turn, part, boxes


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and its right answer.

    record, turn, part: the question in the data set, and the variant of the bench.  boxes: RIGHT or SHUFFLED.
    image: as in the record.  turns: the conversation; the last turn is open.  regions: the input regions.
    options: to choose from by likelihood; if empty, the model generates up to `new_tokens` tokens.
    truth: the right answer; one of the options, if there are any.  references: all right answers by annotators.
    letters: the options of a lettered multiple-choice question, A first.
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
        """The key of the sample's output."""
        return self.record, self.turn, self.part, self.boxes

    def digest(self) -> str:
        """Hash of the model's input, 16 hexadecimal digits."""
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
    """A model's output for a sample.

    text: the generated answer, or the chosen option.  scores: mean log-probability of each option.
    finish: of a generated answer, "stop" or "length".
    error, problem: the code and the message of the error, if the model rejected the question. The sample then counts as wrong.
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
        """The key of the sample."""
        return self.record, self.turn, self.part, self.boxes

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without empty fields."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if value not in ("", ())
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Output":
        """Read the output of `to_dict`.  Raises TypeError or KeyError for anything else."""
        return cls(**{**values, "scores": tuple(values.get("scores", ()))})


@dataclass(frozen=True, slots=True)
class Prediction:
    """A sample and the model's output."""

    sample: Sample
    output: Output

    @property
    def is_right_choice(self) -> bool:
        """Whether the right option got the highest score."""
        return not self.output.error and self.output.text == self.sample.truth
