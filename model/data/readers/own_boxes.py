"""Base class of the readers of a user's own boxes, in CSV or JSON."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

from roi_agent.model.data.readers.base import (
    MALFORMED,
    MASK_INVALID,
    Reader,
    Trouble,
    Unusable,
    clean_text,
    errors_as_unusable,
    fit_box,
)
from roi_agent.model.data.readers.questions import draw_wording
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.errors import UserError
from roi_agent.model.geometry.annotations import annotated_mask, is_fractions
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import UNITS, Region
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.utils.messages import escaped

MOST = 15  # maximum regions in one record; an image with more regions gets several records

_PLACEHOLDER = "<region>"


@dataclass(frozen=True, slots=True)
class OwnBox:
    """One box with its text, as in the file.

    where: file and line, for messages.  numbers: in the order of `format` and the given unit, which is empty if not stated.
    text: the answer.  wordings: a block of `prompts/data_questions.md`, used without a `question`.
    outline: COCO's segmentation.  size_wh: of the image, as stated in the file.
    """

    where: str
    numbers: object
    text: object
    format: str = "xyxy"
    unit: str = ""
    wordings: str = "own_text"
    question: str | None = None
    label: str | None = None
    outline: object = None
    size_wh: tuple[object, object] | None = None


class OwnBoxes(Reader):
    """Asks about every box of an image, one in each turn."""

    source: ClassVar[str] = "own data"
    licence: ClassVar[str] = "as the owner of the images says"
    splits: ClassVar[tuple[str, ...]] = ("train",)

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        self._of_image: dict[str, list[OwnBox]] = {}
        for image, box in self.boxes(self._file()):
            self._of_image.setdefault(image, []).append(box)

    @abstractmethod
    def boxes(self, path: Path) -> Iterator[tuple[str, OwnBox]]:
        """Yield every box of the file after the name of its image; invalid entries go to `troubles`.  Error: RecordInvalid."""

    def groups(self) -> Sequence[str]:
        """Return the names of the images."""
        return list(self._of_image)

    def read(self, group: str, rng: Random) -> Iterator[Record | Trouble]:
        """Yield a record for every MOST boxes of the image."""
        boxes = self._of_image[group]
        first = boxes[0]
        try:
            name = self.images.find(group, where=first.where)
            size_wh = self.images.size_wh(name, where=first.where)
            if first.size_wh is not None:
                self.images.find_sized(group, size_wh=first.size_wh, where=first.where)
        except Unusable as unusable:
            for each in boxes:
                yield Trouble(unusable.trouble.kind, each.where, unusable.trouble.problem)
            return
        found: list[tuple[Region, RecordTurn]] = []
        for each in boxes:
            number = len(found) % MOST + 1
            try:
                region, turn, notes = _read_box(each, f"region{number}", size_wh, rng)
            except Unusable as unusable:
                yield unusable.trouble
                continue
            yield from notes
            found.append((region, turn))
        for part, start in enumerate(range(0, len(found), MOST)):
            regions, turns = zip(*found[start : start + MOST], strict=True)
            yield Record(f"{self.name}/{self.split}/{group}/{part}", name, size_wh, regions, turns, self.source, self.licence)

    def _file(self) -> Path:
        """Return ROOT if it is a file, else SPLIT.csv or boxes.csv (.json) in it."""
        ending = self.name.removeprefix("boxes-")
        if self.root.is_file():
            self.files.append(self.root)
            return self.root
        return self.find(f"{self.split}.{ending}", f"boxes.{ending}")


def _read_box(each: OwnBox, name: str, size_wh: tuple[int, int], rng: Random) -> tuple[Region, RecordTurn, list[Trouble]]:
    """Return the region, its turn, and troubles.  Error: Unusable."""
    text = clean_text(each.text, where=each.where)
    label = clean_text(each.label, where=each.where, what="class") if each.label is not None else None
    question = _name_in_question(each.question, name) if each.question else draw_wording(each.wordings, rng, a=name)
    if stray := set(mentioned(question)) - {name}:
        raise Unusable(MALFORMED, each.where, f"it mentions <{min(stray)}>; write {_PLACEHOLDER} for its own box")
    box, notes = fit_box(_pixels(each, size_wh), format=each.format, size_wh=size_wh, where=each.where, surely_pixels=True)
    mask: Mask | None = None
    try:
        mask = annotated_mask(each.outline, size_wh, box) if each.outline else None
    except UserError as error:
        notes.append(Trouble(MASK_INVALID, each.where, error.problem))
    with errors_as_unusable(each.where):
        region = Region(name, box, label=label, mask=mask, source=OwnBoxes.source)
    return region, RecordTurn(question, text), notes


def _name_in_question(question: str, name: str) -> str:
    """Return a question of the file with the region's mention in place of `<region>`, or else before the question."""
    return question.replace(_PLACEHOLDER, f"<{name}>") if _PLACEHOLDER in question else f"<{name}>: {question}"


def _pixels(each: OwnBox, size_wh: tuple[int, int]) -> object:
    """Return the four numbers in pixels, in the same order.  Error: Unusable."""
    if not each.unit and is_fractions(each.numbers):
        problem = f"its numbers {escaped(each.numbers)} are fractions without a unit; state the unit normalised or pixel"
        raise Unusable(MALFORMED, each.where, problem)
    if each.unit not in ("", *UNITS):
        raise Unusable(MALFORMED, each.where, f"the unit is {escaped(each.unit)}; use one of {', '.join(UNITS)}")
    numbers = each.numbers
    plain = isinstance(numbers, list) and all(isinstance(value, int | float) for value in numbers)
    if each.unit in ("", "pixel") or not isinstance(numbers, list) or not plain:
        return numbers
    parse_whole_number = 1000 if each.unit == "thousandths" else 1
    return [value * size_wh[index % 2] / parse_whole_number for index, value in enumerate(numbers)]
