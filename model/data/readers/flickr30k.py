"""Flickr30k Entities (Plummer et al. 2015): boxes of the phrases of captions.  `flickr30k_files.py` reads the files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

from roi_agent.model.data.english import join_words
from roi_agent.model.data.readers.base import (
    NO_TEXT,
    UNRELATED,
    Reader,
    Trouble,
    Unusable,
    clean_text,
    file_name,
    fit_box,
)
from roi_agent.model.data.readers.described_regions import MOST
from roi_agent.model.data.readers.flickr30k_files import (
    AnnotatedImage,
    Caption,
    Corners,
    from_mdetr,
    read_entities,
    read_unrelated,
)
from roi_agent.model.data.readers.mdetr import MdetrCaption, find_mdetr, read_mdetr
from roi_agent.model.data.readers.questions import draw_wording
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.errors import RecordInvalid
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region


@dataclass(frozen=True, slots=True)
class _GroundedPhrase:
    """A phrase of a caption, text[start:end], with usable boxes."""

    start: int
    end: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class _GroundedCaption:
    """A caption and its phrases that have boxes."""

    number: int
    text: str
    phrases: tuple[_GroundedPhrase, ...]

    def words(self, phrase: _GroundedPhrase) -> str:
        return " ".join(self.text[phrase.start : phrase.end].split())


_Conversation = tuple[tuple[Region, ...], tuple[RecordTurn, ...]]


_UNRELATED = "UNRELATED_CAPTIONS"


class Flickr30kEntities(Reader):
    """Yields for each image a record that asks for phrases of its boxes, and a record for each caption.

    A caption mentions regions after their phrases: "A man (<region1>) walks two dogs (<region2>, <region3>)."
    """

    name: ClassVar[str] = "flickr30k"
    about: ClassVar[str] = "Flickr30k Entities: phrases for regions, and captions that mention regions"
    layout: ClassVar[tuple[str, ...]] = (
        "train.txt with Annotations/ID.xml and Sentences/ID.txt, and optionally UNRELATED_CAPTIONS",
        "or final_flickr_separateGT_train.json or final_flickr_mergedGT_train.json (MDETR)",
        "Flickr30k's images in --images",
    )
    source: ClassVar[str] = "Flickr30k Entities"
    # The authors state terms for the images, but not for the annotations.
    licence: ClassVar[str] = "images under Flickr's terms, for non-commercial research and education; annotations: none stated"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        self._mdetr: Mapping[int | str, list[MdetrCaption]] = {}
        self._ids: list[int | str] = []
        self._unrelated: frozenset[tuple[str, int]] = frozenset()
        if (root / _UNRELATED).is_file():
            self._unrelated = read_unrelated(self.find(_UNRELATED))
        names = (f"final_flickr_separateGT_{split}.json", f"final_flickr_mergedGT_{split}.json")
        if place := find_mdetr(root, *names):
            self._mdetr = read_mdetr(self, place, "original_img_id")
            self._ids = list(self._mdetr)
            return
        path = self.find(f"{split}.txt")
        self._ids = list(dict.fromkeys(path.read_text(encoding="utf-8", errors="replace").split()))
        if not all(isinstance(id, str) and id.isascii() and id.isdecimal() for id in self._ids):
            raise RecordInvalid(f"{path.name}: this is not a list of image ids", do="check that this is the right file")
        self.files += [folder for folder in (root / "Annotations", root / "Sentences") if folder.is_dir()]

    def groups(self) -> Sequence[int | str]:
        """Return the ids of the split's images."""
        return self._ids

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        """Yield the record of phrases, then a record for each caption with boxes."""
        where = f"image {group}"
        try:
            found = from_mdetr(self._mdetr[group]) if self._mdetr else read_entities(self.root, str(group))
            yield from found.troubles
            file = file_name(found.file_name, where=where)
            name, size_wh = self.images.find_sized(file, f"flickr30k-images/{file}", size_wh=found.size_wh, where=where)
        except Unusable as unusable:
            yield unusable.trouble
            return
        boxes, troubles = _fitted_boxes(found, size_wh, where)
        unrelated = [each for each in found.captions if (str(group), each.number) in self._unrelated]
        yield from (Trouble(UNRELATED, f"{where}, caption {each.number}", f"it is listed in {_UNRELATED}") for each in unrelated)
        captions, more = _grounded_captions([each for each in found.captions if each not in unrelated], boxes, where)
        yield from (*troubles, *more)
        asked = [("phrases", self._phrases(captions, rng))]
        asked += [(f"caption{caption.number}", self._caption(caption, rng)) for caption in captions]
        for ending, (regions, turns) in asked:
            if turns:
                id = f"{self.name}/{self.split}/{group}/{ending}"
                yield Record(id, name, size_wh, regions, turns, self.source, self.licence)

    def _phrases(self, captions: Sequence[_GroundedCaption], rng: Random) -> _Conversation:
        """Ask for a phrase for each object, one in each turn; the phrases of all captions are right."""
        things: dict[tuple[Box, ...], list[str]] = {}
        for caption in captions:
            for phrase in caption.phrases:
                things.setdefault(phrase.boxes, []).append(caption.words(phrase))
        regions: dict[Box, Region] = {}
        turns = []
        for boxes in rng.sample(list(things), len(things)):
            if len(regions.keys() | set(boxes)) > MOST:
                continue
            names = self._mention_names(boxes, regions)
            texts = tuple(dict.fromkeys(things[boxes]))
            question = draw_wording("phrase" if len(boxes) == 1 else "phrases", rng, a=join_words(names))
            turns.append(RecordTurn(question, rng.choice(texts), references=texts if len(texts) > 1 else ()))
        return tuple(regions.values()), tuple(turns)

    def _caption(self, caption: _GroundedCaption, rng: Random) -> _Conversation:
        """Ask for the caption with mentions of its regions, in one turn; phrases are drawn at random, for up to MOST regions."""
        drawn: set[Box] = set()
        kept = []
        for phrase in rng.sample(caption.phrases, len(caption.phrases)):
            if len(drawn | set(phrase.boxes)) <= MOST:
                drawn |= set(phrase.boxes)
                kept.append(phrase)
        regions: dict[Box, Region] = {}
        text, position = "", 0
        for phrase in sorted(kept, key=lambda each: each.start):
            names = ", ".join(self._mention_names(phrase.boxes, regions))
            text, position = text + caption.text[position : phrase.end] + f" ({names})", phrase.end
        if not regions:
            return (), ()
        mentions = join_words([f"<{region.name}>" for region in regions.values()])
        answer = " ".join((text + caption.text[position:]).split())
        return tuple(regions.values()), (RecordTurn(draw_wording("ground", rng, a=mentions), answer),)

    def _mention_names(self, boxes: Sequence[Box], regions: dict[Box, Region]) -> list[str]:
        """Return mentions of the regions of these boxes; new regions are added to `regions`."""
        for box in boxes:
            regions.setdefault(box, Region(f"region{len(regions) + 1}", box, source=self.source))
        return [f"<{regions[box].name}>" for box in boxes]


def _fitted_boxes(found: AnnotatedImage, size_wh: tuple[int, int], where: str) -> tuple[dict[Corners, Box], list[Trouble]]:
    """Return the boxes by their annotated corners, and troubles."""
    boxes: dict[Corners, Box] = {}
    troubles: list[Trouble] = []
    annotated = (corners for caption in found.captions for phrase in caption.phrases for corners in phrase.boxes)
    for corners in dict.fromkeys(annotated):
        try:
            boxes[corners], notes = fit_box(corners, format="xyxy", size_wh=size_wh, where=where)
            troubles += notes
        except Unusable as unusable:
            troubles.append(unusable.trouble)
    return boxes, troubles


def _grounded_captions(
    captions: Sequence[Caption], boxes: Mapping[Corners, Box], where: str
) -> tuple[list[_GroundedCaption], list[Trouble]]:
    """Return the captions with their usable phrases, and troubles."""
    found: list[_GroundedCaption] = []
    troubles: list[Trouble] = []
    for caption in captions:
        try:
            clean_text(caption.text, where=f"{where}, caption {caption.number}", what="caption")
        except Unusable as unusable:
            troubles.append(unusable.trouble)
            continue
        phrases = []
        for phrase in caption.phrases:
            # Sorted, because captions may list the same boxes in different orders.
            kept = tuple(sorted({boxes[corners] for corners in phrase.boxes if corners in boxes}, key=lambda box: box.xyxy))
            if kept and all(corners in boxes for corners in phrase.boxes) and caption.text[phrase.start : phrase.end].strip():
                phrases.append(_GroundedPhrase(phrase.start, phrase.end, kept))
        found.append(_GroundedCaption(caption.number, caption.text, tuple(phrases)))
    if not captions:
        troubles.append(Trouble(NO_TEXT, where, "it has no caption"))
    return found, troubles
