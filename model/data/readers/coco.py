"""COCO instances: boxes and masks of 80 classes (Lin et al. 2014), which stage 1 of the paper trains on."""

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
    required,
)
from roi_agent.model.data.readers.described_regions import Described, coco_region, one_turn_per_region, read_usable
from roi_agent.model.data.record import Record
from roi_agent.model.geometry.annotations import as_id
from roi_agent.model.utils.messages import escaped


class CocoInstances(Reader):
    """Asks for the class of each region of an image, one in each turn.

    Skips crowd annotations.  Any other split name reads `instances_SPLIT.json`.
    """

    name: ClassVar[str] = "coco"
    about: ClassVar[str] = "COCO instances: the class of each box"
    layout: ClassVar[tuple[str, ...]] = (
        "annotations/instances_train2017.json",
        "images in --images, such as train2017/",
        "for your own boxes in COCO's layout, use boxes-json",
    )
    source: ClassVar[str] = "COCO"
    licence: ClassVar[str] = "annotations CC-BY-4.0; images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("train2017", "val2017")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        name = f"instances_{split}.json"
        data = self.load_json(f"annotations/{name}", name)
        tables = {key: required(data, key, list, where=name) for key in ("categories", "images", "annotations")}
        self._classes = self.by_id(tables["categories"], "id", where=f"{name}, categories")
        self._images = self.by_id(tables["images"], "id", where=f"{name}, images")
        self._of_image = self.by_field(tables["annotations"], "image_id", where=f"{name}, annotations")
        self._file = name
        for image in [image for image in self._of_image if image not in self._images]:
            for annotation in self._of_image.pop(image):
                where = f"{name}, annotation {escaped(annotation.get('id'))}"
                self.troubles.append(
                    Trouble(MISSING_IMAGE, where, f"its image {escaped(image)} is not in the file's list, or not unique")
                )

    def groups(self) -> Sequence[int | str]:
        """Return the ids of images with annotations."""
        return list(self._of_image)

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        """Yield one record for each image."""
        image, where = self._images[group], f"{self._file}, image {group}"
        try:
            file = file_name(image.get("file_name"), where=where)
            stated = image.get("width"), image.get("height")
            name, size_wh = self.images.find_sized(file, f"{self.split}/{file}", size_wh=stated, where=where)
        except Unusable as unusable:
            yield unusable.trouble
            return
        alone = [each for each in self._of_image[group] if not each.get("iscrowd")]
        found, troubles = read_usable(alone, lambda annotation: self._read_region(annotation, size_wh))
        yield from troubles
        yield from one_turn_per_region(self, found, rng, block="class", id=str(group), image=name, size_wh=size_wh)

    def _read_region(self, annotation: Mapping[str, Any], size_wh: tuple[int, int]) -> Described:
        where = f"{self._file}, image {annotation['image_id']}, annotation {escaped(annotation.get('id'))}"
        category = annotation.get("category_id")
        id = as_id(category)
        known = None if id is None else self._classes.get(id)
        if known is None:
            raise Unusable(MALFORMED, where, f"its category {escaped(category)} is not in the file's list")
        label = clean_text(known.get("name"), where=where, what="class")
        return coco_region(annotation, label=label, size_wh=size_wh, where=where, source=self.source)
