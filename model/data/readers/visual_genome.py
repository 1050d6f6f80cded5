"""Visual Genome's region descriptions (Krishna et al. 2017): about fifty boxes per image, each with a short description."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from roi_agent.model.data.readers.base import (
    MALFORMED,
    MISSING_IMAGE,
    Reader,
    Trouble,
    Unusable,
    clean_text,
    file_name,
    fit_box,
    required,
)
from roi_agent.model.data.readers.described_regions import Described, one_turn_per_region, read_usable
from roi_agent.model.data.record import Record
from roi_agent.model.errors import RecordInvalid
from roi_agent.model.geometry.annotations import as_id
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped

_REGIONS, _IMAGES, _SPLITS = "region_descriptions.json", "image_data.json", "densecap_splits.json"


class VisualGenome(Reader):
    """Asks for a description of each region.

    A split is a list of image ids: `train_ids.json`, or the list `train` in `densecap_splits.json`.
    """

    name: ClassVar[str] = "visual-genome"
    about: ClassVar[str] = "Visual Genome: a short description of each region"
    layout: ClassVar[tuple[str, ...]] = (
        "region_descriptions.json",
        "image_data.json",
        "or train.json in COCO's layout, with a caption for each annotation; not tried with the download",
        "for a split other than all: train_ids.json (a list of image ids) and so on, or densecap_splits.json",
        "VG_100K/ and VG_100K_2/ in --images",
    )
    source: ClassVar[str] = "Visual Genome"
    licence: ClassVar[str] = "annotations CC-BY-4.0; images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        captioned = [name for name in (f"{split}.json", f"visual_genome/{split}.json") if (root / name).is_file()]
        self._place = _REGIONS
        if captioned and not (root / _REGIONS).is_file():
            self._read_captioned(captioned[0])
            return
        stated = self._list(_IMAGES)
        key = (
            "image_id" if any(isinstance(each, Mapping) and "image_id" in each for each in stated) else "id"
        )  # as in version 1.0
        self._images = self.by_id(stated, key, where=_IMAGES)
        described = self.by_id(self._list(_REGIONS), "id", where=_REGIONS)
        if split != "all":
            described = self._of_split(described)
        self._read_region = {image: entry for image, entry in described.items() if image in self._images}
        for image in [image for image in described if image not in self._images]:
            problem = f"its image is not in {_IMAGES}"
            self.troubles.append(Trouble(MISSING_IMAGE, f"{_REGIONS}, image {image}", problem))

    def _read_captioned(self, name: str) -> None:
        """Read COCO's layout, with a `caption` for each annotation."""
        data = self.load_json(name)
        where = self._place = self.files[-1].name
        self._images = self.by_id(required(data, "images", list, where=where), "id", where=f"{where}, images")
        annotations = required(data, "annotations", list, where=where)
        described = self.by_field(annotations, "image_id", where=f"{where}, annotations")
        self._read_region = {image: {"regions": each} for image, each in described.items() if image in self._images}
        for image in [image for image in described if image not in self._images]:
            problem = "its image is not in the file's list, or not unique"
            self.troubles.append(Trouble(MISSING_IMAGE, f"{where}, image {image}", problem))

    def groups(self) -> Sequence[int | str]:
        """Return the ids of the split's images."""
        return list(self._read_region)

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        """Yield one record for each image."""
        where, image = f"{self._place}, image {group}", self._images[group]
        try:
            regions = self._read_region[group].get("regions")
            if not isinstance(regions, list):
                raise Unusable(MALFORMED, where, "it has no list of regions")
            if self._place == _REGIONS and (image.get("width") is None or image.get("height") is None):
                raise Unusable(MALFORMED, where, f"{_IMAGES} states no size")
            file = file_name(image.get("file_name", f"{group}.jpg"), where=where)
            names = (f"VG_100K/{file}", f"VG_100K_2/{file}", file)
            name, size_wh = self.images.find_sized(*names, size_wh=(image.get("width"), image.get("height")), where=where)
        except Unusable as unusable:
            yield unusable.trouble
            return
        numbered = enumerate(regions)
        found, troubles = read_usable(numbered, lambda each: self._region(each[1], f"{where}, regions[{each[0]}]", size_wh))
        yield from troubles
        yield from one_turn_per_region(self, found, rng, block="describe", id=str(group), image=name, size_wh=size_wh)

    def _region(self, entry: Any, where: str, size_wh: tuple[int, int]) -> Described:
        if not isinstance(entry, Mapping):
            raise Unusable(MALFORMED, where, f"it is {escaped(entry)}")
        what: str = "phrase"
        values: object = [entry.get(key) for key in ("x", "y", "width", "height")]
        if self._place != _REGIONS:
            what, values = "caption", entry.get("bbox")
        text = clean_text(entry.get(what), where=where, what=what)
        box, notes = fit_box(values, format="xywh", size_wh=size_wh, where=where)
        return Described(Region("region1", box, source=self.source), (text,), tuple(notes))

    def _of_split(self, described: dict[int | str, Mapping[str, Any]]) -> dict[int | str, Mapping[str, Any]]:
        """Return the images of the split, in its order; those without descriptions go to `troubles`."""
        alone = f"{self.split}_ids.json"
        ids = self.load_json(alone, _SPLITS)
        place = self.files[-1].name
        ids = ids.get(self.split) if isinstance(ids, Mapping) else ids
        listed: list[Any] = [as_id(each) for each in ids] if isinstance(ids, list) else [None]
        if None in listed:
            raise RecordInvalid(
                f"{place}: there is no list of image ids for {self.split!r}", do="check that this is the right file"
            )
        for each in dict.fromkeys(listed):
            if each not in described:
                self.troubles.append(Trouble(MALFORMED, f"{place}, image {each}", f"the image is not in {_REGIONS}"))
        return {each: described[each] for each in dict.fromkeys(listed) if each in described}

    def _list(self, name: str) -> list[Any]:
        found = self.load_json(name)
        if not isinstance(found, list):
            raise RecordInvalid(f"{name}: this is not a list of images", do="check that this is the right file")
        return found
