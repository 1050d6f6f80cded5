"""RefCOCO, RefCOCO+ (Kazemzadeh et al. 2014; Yu et al. 2016) and RefCOCOg (Mao et al. 2016): referring expressions.

Two layouts are supported: REFER's, `refs(unc).p` or its JSON export beside `instances.json`, and MDETR's, a file for each split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from roi_agent.model.data.readers.base import (
    MALFORMED,
    MISSING_IMAGE,
    NO_TEXT,
    Reader,
    Trouble,
    Unusable,
    clean_text,
    file_name,
    read_json,
    required,
)
from roi_agent.model.data.readers.described_regions import Described, coco_region, one_turn_per_region, read_usable
from roi_agent.model.data.readers.mdetr import find_mdetr, read_mdetr
from roi_agent.model.data.readers.plain_pickle import load_plain_pickle
from roi_agent.model.data.record import Record
from roi_agent.model.errors import DataNotFound, RecordInvalid
from roi_agent.model.geometry.annotations import as_id
from roi_agent.model.utils.messages import escaped


@dataclass(frozen=True, slots=True)
class _ReferredRegion:
    """One region of an image and its phrases, each with its location for messages."""

    annotation: Mapping[str, Any]
    phrases: list[tuple[object, str]]


class RefCoco(Reader):
    """Asks for a phrase that refers to each region; all phrases of a region are right answers."""

    name: ClassVar[str] = "refcoco"
    about: ClassVar[str] = "RefCOCO: a phrase that distinguishes a region from the others"
    layout: ClassVar[tuple[str, ...]] = (
        "refcoco/refs(unc).p or .json with instances.json beside it (REFER)",
        "or finetune_refcoco_train.json (MDETR)",
        "COCO's images in --images, such as train2014/",
    )
    source: ClassVar[str] = "RefCOCO"
    # REFER states no terms for the phrases.
    licence: ClassVar[str] = "phrases: none stated; boxes CC-BY-4.0 (COCO); images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "testA", "testB")
    partitions: ClassVar[tuple[str, ...]] = ("unc",)
    block: ClassVar[str] = "refer"

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        self._files: dict[int | str, tuple[Mapping[str, Any], str]] = {}  # by image: its entry and location
        self._referred: dict[int | str, dict[int | str, _ReferredRegion]] = {}  # by image, then by region
        if place := find_mdetr(root, f"finetune_{self.name}_{split}.json"):
            self._read_mdetr(place)
        else:
            self._read_refer()

    def groups(self) -> Sequence[int | str]:
        """Return the ids of images with phrases in this split."""
        return list(self._referred)

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        """Yield one record for each image."""
        entry, where = self._files[group]
        try:
            name, size_wh = self._image(entry, where)
        except Unusable as unusable:
            yield unusable.trouble
            return
        found, troubles = read_usable(self._referred[group].values(), lambda referred: self._read_region(referred, size_wh))
        yield from troubles
        yield from one_turn_per_region(self, found, rng, block=self.block, id=str(group), image=name, size_wh=size_wh)

    def _image(self, entry: Mapping[str, Any], where: str) -> tuple[str, tuple[int, int]]:
        """Return the image's file and size.  In COCO 2017, the same images have shorter names.  Error: Unusable."""
        old = file_name(entry.get("file_name"), where=where)
        new = old.rsplit("_", 1)[-1]
        names = (old, f"train2014/{old}", new, f"train2017/{new}")
        return self.images.find_sized(*names, size_wh=(entry.get("width"), entry.get("height")), where=where)

    def _read_region(self, referred: _ReferredRegion, size_wh: tuple[int, int]) -> Described:
        phrases, notes = [], []
        for phrase, where in referred.phrases:
            try:
                phrases.append(clean_text(phrase, where=where, what="phrase"))
            except Unusable as unusable:
                notes.append(unusable.trouble)
        where = referred.phrases[0][1]
        found = coco_region(referred.annotation, label=None, size_wh=size_wh, where=where, source=self.source)
        return Described(found.region, tuple(phrases), (*found.notes, *notes))

    def _read_mdetr(self, place: str) -> None:
        """Read MDETR's layout: an entry is one phrase with one annotation; phrases of a region share its `original_id`."""
        for image, captions in read_mdetr(self, place, "original_id").items():
            self._files[image] = captions[0].entry, captions[0].where
            for caption in captions:
                if len(caption.annotations) != 1:
                    problem = f"its phrase has {len(caption.annotations)} regions instead of one"
                    self.troubles.append(Trouble(MALFORMED, caption.where, problem))
                    continue
                (annotation,) = caption.annotations
                same = as_id(annotation.get("original_id"))
                same = same if same is not None else str(annotation.get("bbox"))
                self._add(image, same, annotation, [(caption.entry.get("caption"), caption.where)])

    def _read_refer(self) -> None:
        """Read REFER's layout: `refs` lists regions with `sentences`; `instances.json` contains the boxes by `ann_id`."""
        wanted = [f"refs({each}){ending}" for each in self.partitions for ending in (".json", ".p")]
        path = self.find(*(f"{folder}{each}" for folder in (f"{self.name}/", "") for each in wanted))
        refs = load_plain_pickle(path) if path.suffix == ".p" else read_json(path)
        if not isinstance(refs, list):
            raise RecordInvalid(f"{path.name}: this is not a list of regions", do="check that this is the right file")
        folder = path.parent.relative_to(self.root)
        data = self.load_json(str(folder / "instances.json"))
        where = "instances.json"
        images = self.by_id(required(data, "images", list, where=where), "id", where=f"{where}, images")
        annotations = self.by_id(required(data, "annotations", list, where=where), "id", where=f"{where}, annotations")
        parts = self.by_field(refs, "split", where=path.name)
        if self.split not in parts:
            known = ", ".join(sorted(map(str, parts))) or "none"
            raise DataNotFound(f"there is no split {self.split!r} in {path.name}", do=f"use one of its splits: {known}")
        for ref in parts[self.split]:
            self._add_ref(ref, images, annotations, f"{path.name}, ref {escaped(ref.get('ref_id'))}")

    def _add_ref(
        self,
        ref: Mapping[str, Any],
        images: Mapping[int | str, Mapping[str, Any]],
        annotations: Mapping[int | str, Mapping[str, Any]],
        where: str,
    ) -> None:
        image, id, sentences = as_id(ref.get("image_id")), as_id(ref.get("ann_id")), ref.get("sentences")
        if image is None or image not in images:
            self.troubles.append(
                Trouble(MISSING_IMAGE, where, f"its image {escaped(ref.get('image_id'))} is not in instances.json")
            )
        elif id is None or id not in annotations:
            self.troubles.append(Trouble(MALFORMED, where, f"its region {escaped(ref.get('ann_id'))} is not in instances.json"))
        elif not isinstance(sentences, list) or not sentences:
            self.troubles.append(Trouble(NO_TEXT, where, "it has no sentences"))
        else:
            phrases = [(each.get("sent") if isinstance(each, Mapping) else each, where) for each in sentences]
            self._files[image] = images[image], f"instances.json, image {image}"
            self._add(image, id, annotations[id], phrases)

    def _add(self, image: int | str, region: int | str, annotation: Mapping[str, Any], phrases: list[tuple[object, str]]) -> None:
        regions = self._referred.setdefault(image, {})
        regions.setdefault(region, _ReferredRegion(annotation, [])).phrases.extend(phrases)


class RefCocoPlus(RefCoco):
    """As RefCOCO, with phrases that name no places."""

    name: ClassVar[str] = "refcoco+"
    about: ClassVar[str] = "RefCOCO+: as RefCOCO, by appearance and without places"
    layout: ClassVar[tuple[str, ...]] = (
        "refcoco+/refs(unc).p or .json with instances.json beside it (REFER)",
        "or finetune_refcoco+_train.json (MDETR)",
        "COCO's images in --images, such as train2014/",
    )
    source: ClassVar[str] = "RefCOCO+"
    block: ClassVar[str] = "refer_by_looks"


class RefCocoG(RefCoco):
    """As RefCOCO, with longer phrases, which stage 2 trains on as region captions."""

    name: ClassVar[str] = "refcocog"
    about: ClassVar[str] = "RefCOCOg: a sentence or a long phrase about a region"
    layout: ClassVar[tuple[str, ...]] = (
        "refcocog/refs(umd).p or .json, or refs(google).p or .json, with instances.json beside it (REFER)",
        "or finetune_refcocog_train.json (MDETR)",
        "COCO's images in --images, such as train2014/",
    )
    source: ClassVar[str] = "RefCOCOg"
    licence: ClassVar[str] = "phrases and boxes CC-BY-4.0 (Google Refexp, COCO); images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    partitions: ClassVar[tuple[str, ...]] = ("umd", "google")
    block: ClassVar[str] = "caption"
