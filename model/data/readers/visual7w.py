"""Visual7W (Zhu et al. 2016): questions with four options, texts (telling) or boxes (pointing)."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from roi_agent.model.data.english import join_words
from roi_agent.model.data.readers.base import (
    MALFORMED,
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
from roi_agent.model.errors import DataNotFound
from roi_agent.model.geometry.annotations import as_id
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped


class _Visual7W(Reader):
    """Base class of the two data sets: images with pairs of question and answer."""

    source: ClassVar[str] = "Visual7W"
    licence: ClassVar[str] = "none stated for the questions; images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        self._data = self.load_json(f"dataset_v7w_{self.name.removeprefix('visual7w-')}.json", "dataset.json")
        found = list(self.objects(self._data, "images", "filename", "split"))
        self._groups = [(number, *each) for number, each in enumerate(found) if each[1]["split"] == split]
        if not self._groups:
            known = ", ".join(sorted({str(image["split"]) for _, image in found})) or "none"
            raise DataNotFound(f"{self.files[0].name} has no images of the split {split!r}", do=f"its splits: {known}")

    def groups(self) -> Sequence[tuple[int, str, Mapping[str, Any]]]:
        """Return the images of the split, each with its number and location."""
        return self._groups

    def read(self, group: tuple[int, str, Mapping[str, Any]], rng: Random) -> Iterator[Record | Trouble]:
        """Yield one record for each question."""
        number, place, image = group
        pairs = image.get("qa_pairs")
        if not isinstance(pairs, list):
            yield Trouble(MALFORMED, place, f"qa_pairs is {escaped(pairs)}")
            return
        for index, pair in enumerate(pairs):
            where = f"{place}, qa_pairs[{index}]"
            try:
                name = self.images.find(str(image["filename"]), where=where)
                size_wh = self.images.size_wh(name, where=where)
                question, wrong = self._asked(pair, where)
                turn, regions, notes = self.turn(question, [pair.get("answer"), *wrong], size_wh, rng, where)
                with errors_as_unusable(where):
                    identity = f"{self.name}/{self.split}/{number}/{index}"
                    record = Record(identity, name, size_wh, regions, (turn,), self.source, self.licence)
            except Unusable as unusable:
                yield unusable.trouble
                continue
            yield from notes
            yield record

    @abstractmethod
    def turn(
        self, question: str, options: list[Any], size_wh: tuple[int, int], rng: Random, where: str
    ) -> tuple[RecordTurn, tuple[Region, ...], list[Trouble]]:
        """Return the turn, its regions and troubles.  options: as in the file, the right one first.  Error: Unusable."""

    def _asked(self, pair: object, where: str) -> tuple[str, list[Any]]:
        """Return the question and its wrong options."""
        if not isinstance(pair, Mapping):
            raise Unusable(MALFORMED, where, f"it is {escaped(pair)}")
        wrong = pair.get("multiple_choices")
        if not isinstance(wrong, list):
            raise Unusable(MALFORMED, where, f"multiple_choices is {escaped(wrong)}")
        return clean_text(pair.get("question"), where=where, what="question"), wrong


class Visual7WTelling(_Visual7W):
    """Reads questions about the whole image with four answers."""

    name: ClassVar[str] = "visual7w-telling"
    about: ClassVar[str] = "Visual7W telling: questions about the image, with four answers"
    layout: ClassVar[tuple[str, ...]] = ("dataset_v7w_telling.json", "images in --images, such as images/: v7w_ID.jpg")

    def turn(
        self, question: str, options: list[Any], size_wh: tuple[int, int], rng: Random, where: str
    ) -> tuple[RecordTurn, tuple[Region, ...], list[Trouble]]:
        kept, notes = distinct_options([clean_text(each, where=where, what="answer") for each in options], where=where)
        return RecordTurn(question, kept[0], tuple(rng.sample(kept, len(kept)))), (), notes


class Visual7WPointing(_Visual7W):
    """Reads questions whose answer is one of four regions; the options are region names, as a model generates them."""

    name: ClassVar[str] = "visual7w-pointing"
    about: ClassVar[str] = "Visual7W pointing: questions whose answer is one of four regions"
    layout: ClassVar[tuple[str, ...]] = ("dataset_v7w_pointing.json", "images in --images, such as images/: v7w_ID.jpg")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        self._boxes = self.unique(self.objects(self._data, "boxes", "box_id"), "box_id")

    def turn(
        self, question: str, options: list[Any], size_wh: tuple[int, int], rng: Random, where: str
    ) -> tuple[RecordTurn, tuple[Region, ...], list[Trouble]]:
        found = [self._box(number, size_wh, where) for number in options]
        kept, notes = distinct_options([box for box, _ in found], where=where)
        labels = {box: self._label(number, where) for (box, _), number in zip(found, options, strict=True)}
        regions = tuple(
            Region(f"region{place}", box, label=labels[box], source=self.source)
            for place, box in enumerate(rng.sample(kept, len(kept)), start=1)
        )
        names = [region.name for region in regions]
        answer = next(region.name for region in regions if region.box == kept[0])
        asked = draw_wording("pointing", rng, question=question, all=join_words([f"<{name}>" for name in names]))
        clipped = [note for _, box_notes in found for note in box_notes]
        return RecordTurn(asked, answer, tuple(names)), regions, clipped + notes

    def _box(self, number: object, size_wh: tuple[int, int], where: str) -> tuple[Box, list[Trouble]]:
        id = as_id(number)
        if id is None or id not in self._boxes:
            raise Unusable(MALFORMED, where, f"there is no box {escaped(number)}")
        box = self._boxes[id]
        values = [box.get(key) for key in ("x", "y", "width", "height")]
        return fit_box(values, format="xywh", size_wh=size_wh, where=f"{where}, box {number}")

    def _label(self, number: int | str, where: str) -> str | None:
        name = self._boxes[as_id(number) or 0].get("name")
        return clean_text(name, where=where, what="name") if isinstance(name, str) and name.strip() else None
