"""Visual Commonsense Reasoning (Zellers et al. 2019): a question with four answers, and four rationales of the right one.

Texts are lists of words and of lists of object numbers. Object k, counted from 0, becomes `<class> at <regionK>` with K = k + 1,
so that a region name means the same object in all questions about an image.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from roi_agent.model.data.english import join_words
from roi_agent.model.data.readers.base import (
    MALFORMED,
    MASK_INVALID,
    NO_TEXT,
    Reader,
    Trouble,
    Unusable,
    clean_text,
    errors_as_unusable,
    fit_box,
)
from roi_agent.model.data.readers.choices import distinct_options
from roi_agent.model.data.readers.questions import draw_wording
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.errors import InvalidSetting, UserError
from roi_agent.model.geometry.annotations import annotated_mask
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.utils.messages import escaped

_CLOSING = re.compile(r" +([.,;:!?%)\]]|n't\b|'(?:s|re|ve|ll|m|d)?(?!\w))", re.IGNORECASE)
_OPENING = re.compile(r"([(\[$]) +")


@dataclass(frozen=True, slots=True)
class _Problem:
    """One line of the file, as text."""

    question: str
    answer: str
    answers: tuple[str, ...]
    reason: str
    reasons: tuple[str, ...]


class Vcr(Reader):
    """Reads the format of the paper: a question and its answer, then "why?" and the rationale, each turn with options.

    Regions are ordered by the question, then by all options, so that their order does not reveal the answer.
    """

    name: ClassVar[str] = "vcr"
    about: ClassVar[str] = "VCR in two rounds: question and answer, then why? and the rationale, with four options each"
    layout: ClassVar[tuple[str, ...]] = ("train.jsonl or val.jsonl", "images beside their .json files in --images: vcr1images/")
    source: ClassVar[str] = "VCR"
    licence: ClassVar[str] = "the VCR dataset's licence agreement"

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        if split == "test":
            raise InvalidSetting("the answers of VCR's test split are not public", do="convert train or val")
        path = self.find(f"{split}.jsonl")
        self._file = path.name
        self._lines = path.read_bytes().splitlines()
        self._groups = self._by_image()

    def groups(self) -> Sequence[list[int]]:
        """Return lists of line numbers, from 0, one list for each image."""
        return self._groups

    def read(self, group: list[int], rng: Random) -> Iterator[Record | Trouble]:
        """Yield one record for each line."""
        for number in group:
            try:
                yield from self._record(json.loads(self._lines[number]), rng, number + 1)
            except Unusable as unusable:
                yield unusable.trouble

    def turns(self, problem: _Problem, rng: Random) -> tuple[RecordTurn, ...]:
        return (
            RecordTurn(problem.question, problem.answer, problem.answers),
            RecordTurn(draw_wording("why", rng), problem.reason, problem.reasons),
        )

    def _by_image(self) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for number, line in enumerate(self._lines):
            where = f"{self._file}, line {number + 1}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                self.troubles.append(Trouble(MALFORMED, where, "this is not JSON, it may be truncated"))
                continue
            image = values.get("img_fn") if isinstance(values, Mapping) else None
            if isinstance(image, str):
                groups.setdefault(image, []).append(number)
            else:
                self.troubles.append(Trouble(MALFORMED, where, f"img_fn is {escaped(image)}"))
        return list(groups.values())

    def _record(self, values: Mapping[str, Any], rng: Random, line: int) -> Iterator[Record | Trouble]:
        where = f"{self._file}, line {line}"
        metadata = self._metadata(values, where)
        stated = metadata.get("width"), metadata.get("height")
        image, size_wh = self.images.find_sized(values["img_fn"], size_wh=stated, where=where)
        objects = values.get("objects")
        if not isinstance(objects, list):
            raise Unusable(MALFORMED, where, f"objects is {escaped(objects)}, but should be a list of classes")
        things = [clean_text(each, where=where, what="class") for each in objects]
        question = detokenise(values.get("question"), things, where=f"{where}, question")
        answer, answers, notes = _choices(values, "answer", things, where)
        reason, reasons, more_notes = _choices(values, "rationale", things, where)
        turns = self.turns(_Problem(question, answer, answers, reason, reasons), rng)
        texts = chain.from_iterable((turn.question, *turn.options) for turn in turns)
        numbers = [int(name.removeprefix("region")) - 1 for name in mentioned(" ".join(texts))]
        found = [_region(number, things, metadata, size_wh, f"{where}, object {number}") for number in numbers]
        yield from chain(notes, more_notes, *(notes for _, notes in found))
        with errors_as_unusable(where):
            name, regions = f"{self.name}/{self.split}/{line}", tuple(region for region, _ in found)
            yield Record(name, image, size_wh, regions, turns, self.source, self.licence)

    def _metadata(self, values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """Read the size, the boxes and the segments of the image.  Error: Unusable."""
        name = str(values.get("metadata_fn"))
        try:
            metadata = json.loads((self.images.folder / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            raise Unusable(MALFORMED, where, f"its metadata {name!r} cannot be read") from None
        if not isinstance(metadata, Mapping) or not isinstance(metadata.get("boxes"), list):
            raise Unusable(MALFORMED, where, f"its metadata {name!r} contains no boxes")
        return metadata


class VcrAnswer(Vcr):
    """Reads questions and answers only."""

    name: ClassVar[str] = "vcr-qa"
    about: ClassVar[str] = "VCR, the answer to a question, with four options"

    def turns(self, problem: _Problem, rng: Random) -> tuple[RecordTurn, ...]:
        return (RecordTurn(problem.question, problem.answer, problem.answers),)


class VcrRationale(Vcr):
    """Reads rationales; the question contains the right answer."""

    name: ClassVar[str] = "vcr-qar"
    about: ClassVar[str] = "VCR, the rationale of a question and its answer, with four options"

    def turns(self, problem: _Problem, rng: Random) -> tuple[RecordTurn, ...]:
        question = draw_wording("answered_why", rng, question=problem.question, answer=problem.answer)
        return (RecordTurn(question, problem.reason, problem.reasons),)


def detokenise(tokens: object, things: Sequence[str], *, where: str) -> str:
    """Return a tokenised text of VCR as a sentence.

    tokens: words, and lists of object numbers.  things: the class of each object.  Error: Unusable.
    """
    if not isinstance(tokens, list) or not tokens:
        raise Unusable(NO_TEXT, where, "it has no words")
    words = " ".join(_word(word, where) if isinstance(word, str) else _mentions(word, things, where) for word in tokens)
    text = _OPENING.sub(r"\1", _CLOSING.sub(r"\1", " ".join(words.split())))
    if not text:
        raise Unusable(NO_TEXT, where, "it has no words")
    return text


def _word(word: str, where: str) -> str:
    return clean_text(word, where=where, what="word") if word.strip() else ""


def _mentions(numbers: object, things: Sequence[str], where: str) -> str:
    if not isinstance(numbers, list) or not numbers:
        raise Unusable(MALFORMED, where, f"a word is {escaped(numbers)}, but should be a text or a list of numbers")
    for number in numbers:
        if not isinstance(number, int) or not 0 <= number < len(things):
            raise Unusable(MALFORMED, where, f"it names object {escaped(number)}, and there are {len(things)}, counted from 0")
    return join_words([f"{things[number]} at <region{number + 1}>" for number in numbers])


def _choices(
    values: Mapping[str, Any], kind: str, things: Sequence[str], where: str
) -> tuple[str, tuple[str, ...], list[Trouble]]:
    """Return the right choice, all choices, and troubles."""
    place = f"{where}, {kind}_choices"
    choices, label = values.get(f"{kind}_choices"), values.get(f"{kind}_label")
    if not isinstance(choices, list):
        raise Unusable(MALFORMED, place, f"they are {escaped(choices)}")
    if not isinstance(label, int) or not 0 <= label < len(choices):
        raise Unusable(
            MALFORMED, where, f"{kind}_label is {escaped(label)}, and there are {len(choices)} choices, counted from 0"
        )
    texts = [detokenise(each, things, where=f"{place}[{index}]") for index, each in enumerate(choices)]
    options, notes = distinct_options(texts, where=place)
    return texts[label], tuple(options), notes


def _region(
    number: int, things: Sequence[str], metadata: Mapping[str, Any], size_wh: tuple[int, int], where: str
) -> tuple[Region, list[Trouble]]:
    boxes = metadata["boxes"]
    values = boxes[number] if number < len(boxes) else None
    box, notes = fit_box(values[:4] if isinstance(values, list) else values, format="xyxy", size_wh=size_wh, where=where)
    mask = None
    try:
        mask = _mask(metadata, number, size_wh, box)
    except UserError as error:
        notes.append(Trouble(MASK_INVALID, where, error.problem))
    return Region(f"region{number + 1}", box, label=things[number], mask=mask, source=Vcr.source), notes


def _mask(metadata: Mapping[str, Any], number: int, size_wh: tuple[int, int], box: Box) -> Mask | None:
    """Return a mask from polygons of points, or None without polygons.  Errors: those of `annotated_mask`."""
    outlines = metadata.get("segms")
    polygons = outlines[number] if isinstance(outlines, list) and number < len(outlines) else None
    if not polygons:
        return None
    return annotated_mask([_flat(each) for each in polygons] if isinstance(polygons, list) else polygons, size_wh, box)


def _flat(polygon: object) -> object:
    """Flatten a list of points to COCO's format: x1, y1, x2, y2, ..."""
    if isinstance(polygon, list) and all(isinstance(point, list) for point in polygon):
        return list(chain.from_iterable(polygon))
    return polygon
