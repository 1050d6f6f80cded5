"""The record, the common format of all data sets: an image, its regions, a conversation about them, and their source.

As JSON, one object a line:

    {"id": "boxes/7", "image": "cats/7.jpg", "width": 640, "height": 480,
     "regions": [{"name": "region1", "box": [12, 30, 200, 240], "label": "cat"}],
     "turns": [{"question": "What is <region1>?", "answer": "a cat"}],
     "source": "my boxes", "licence": "CC0-1.0"}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from roi_agent.model.errors import RecordInvalid, UserError
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.protocol.conversation import Turn, mentioned
from roi_agent.model.utils.messages import escaped

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True, slots=True)
class RecordTurn:
    """A question that mentions regions as `<regionN>`, and its right answer.

    options: of a multiple-choice question; they contain the answer exactly once.
    references: all right answers, if annotators gave several; they contain `answer`.
    """

    question: str
    answer: str
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a generated answer is considered true.

    kind: the source, such as "choose", "geometry" or "detector".  text: its finding.  score: its confidence.
    """

    kind: str
    text: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation about regions of one image, for training or evaluation.

    id: unique in its data set, and stable across conversions.
    image: path of the file in the folder of images, with "/".
    size_wh: width and height of the upright image, in pixels.  regions: with boxes in pixels.
    turns: at least one; they mention no other regions.
    source, licence: the data set, and the terms that it states for its images and texts.
    evidence: of generated answers.  Error: RecordInvalid.
    """

    id: str
    image: str
    size_wh: tuple[int, int]
    regions: tuple[Region, ...]
    turns: tuple[RecordTurn, ...]
    source: str
    licence: str
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        if not self.turns:
            raise RecordInvalid("turns: there are none", do="give at least one question with its answer")
        known = {region.name for region in self.regions}
        for number, turn in enumerate(self.turns):
            for key, text in (("question", turn.question), ("answer", turn.answer)):
                if not text.strip():
                    raise RecordInvalid(f"turns[{number}].{key}: the text is empty")
                if unknown := [name for name in mentioned(text) if name not in known]:
                    problem = f"turns[{number}].{key}: there is no {unknown[0]} among the regions"
                    raise RecordInvalid(problem, do="include every region that a turn mentions")
            for key, texts in (("options", turn.options), ("references", turn.references)):
                if texts and texts.count(turn.answer) != 1:
                    problem = (
                        f"turns[{number}].{key}: the answer {escaped(turn.answer)} is in them {texts.count(turn.answer)} times"
                    )
                    raise RecordInvalid(problem, do="give it once")

    @classmethod
    def from_dict(cls, values: object, *, where: str) -> "Record":
        """Read a record from its JSON form.  where: file and line, for errors.  Error: RecordInvalid."""
        try:
            wire = _WireRecord.model_validate(without_nones(values))
            regions = parse_regions([each.model_dump(exclude_none=True) for each in wire.regions], size_wh=wire.size_wh)
            return cls(
                id=wire.id,
                image=wire.image,
                size_wh=wire.size_wh,
                regions=regions,
                turns=tuple(RecordTurn(t.question, t.answer, tuple(t.options), tuple(t.references)) for t in wire.turns),
                source=wire.source,
                licence=wire.licence,
                evidence=tuple(Evidence(each.kind, each.text, each.score) for each in wire.evidence),
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            given = "" if first["type"] == "missing" else f", given {escaped(first['input'])}"
            problem = f"{_field_path(first['loc'])}: {first['msg'].lower()}{given}"
            raise RecordInvalid(f"{where}: {problem}", do="see the record format in model/data/record.py") from None
        except RecordInvalid as error:
            raise RecordInvalid(f"{where}: {error.problem}", do=error.do) from None
        except UserError as error:
            raise RecordInvalid(f"{where}: regions: {error.problem}", do=error.do) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `from_dict` reads, without empty fields."""
        width, height = self.size_wh
        wire: dict[str, Any] = {"id": self.id, "image": self.image, "width": width, "height": height}
        wire["regions"] = [_region(each) for each in self.regions]
        wire["turns"] = [_non_empty(turn, "question", "answer", "options", "references") for turn in self.turns]
        wire |= {"source": self.source, "licence": self.licence}
        if self.evidence:
            wire["evidence"] = [_non_empty(each, "kind", "text", "score") for each in self.evidence]
        return wire

    def conversation(self) -> tuple[Turn, ...]:
        """Return the turns as a model's input."""
        return tuple(Turn(turn.question, turn.answer) for turn in self.turns)


def without_nones(value: object) -> object:
    """Return the value without fields that are None; table columns contain every field."""
    if isinstance(value, Mapping):
        return {key: without_nones(each) for key, each in value.items() if each is not None}
    return [without_nones(each) for each in value] if isinstance(value, list) else value


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _WireMask(_Wire):
    size: list[int]
    counts: str | list[int]


class _WireRegion(_Wire):
    name: str
    box: list[float]
    label: str | None = None
    score: float | None = None
    mask: _WireMask | None = None


class _WireTurn(_Wire):
    question: _Text
    answer: _Text
    options: list[_Text] = []
    references: list[_Text] = []


class _WireEvidence(_Wire):
    kind: _Text
    text: _Text
    score: float | None = None


class _WireRecord(_Wire):
    id: _Text
    image: _Text
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    regions: list[_WireRegion]
    turns: list[_WireTurn] = Field(min_length=1)
    source: _Text
    licence: _Text
    evidence: list[_WireEvidence] = []

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.width, self.height


def _field_path(location: Sequence[int | str]) -> str:
    """Return a location of pydantic as "turns[0].question"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the line"


def _region(region: Region) -> dict[str, Any]:
    mask = region.mask.to_coco() if isinstance(region.mask, Mask) else None
    wire = {"name": region.name, "box": list(region.box.xyxy), "label": region.label, "score": region.score, "mask": mask}
    return {key: value for key, value in wire.items() if value is not None}


def _non_empty(value: object, *names: str) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in names}
    return {name: list(each) if isinstance(each, tuple) else each for name, each in found.items() if each not in (None, ())}
