"""COCO instances: boxes and masks of 80 kinds of thing (Lin et al. 2014); stage 1 of the paper learns their names."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from roi_agent.model.annotations import annotated_mask
from roi_agent.model.data.readers.base import MALFORMED, Reader, Trouble, Unusable, fitted, grouped, required, sentence
from roi_agent.model.data.readers.wording import ask
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.errors import UserError
from roi_agent.model.regions import Region

MOST = 15  # regions of one image, drawn at random, as in the paper


class CocoInstances(Reader):
    """Every region of an image is asked for its class, one in each turn.

    Annotations of crowds, which are no single thing, are left alone.  A split of another name reads `instances_SPLIT.json`.
    """

    name: ClassVar[str] = "coco"
    about: ClassVar[str] = "COCO instances: what is in this box? Answers are class names"
    layout: ClassVar[tuple[str, ...]] = ("annotations/instances_train2017.json", "images in --images, such as train2017/")
    source: ClassVar[str] = "COCO"
    licence: ClassVar[str] = "annotations CC-BY-4.0; images under Flickr's terms"
    splits: ClassVar[tuple[str, ...]] = ("train2017", "val2017")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        super().__init__(root, images=images, split=split)
        name = f"instances_{split}.json"
        data = self.load_json(f"annotations/{name}", name)
        self._file = self.files[0].name
        self._classes = {each["id"]: each["name"] for each in required(data, "categories", list, where=self._file)}
        self._images = {each["id"]: each for each in required(data, "images", list, where=self._file)}
        self._of_image = grouped(required(data, "annotations", list, where=self._file), "image_id")

    def groups(self) -> Sequence[int]:
        """The ids of images with annotations."""
        return [image for image in self._of_image if image in self._images]

    def read(self, group: int, rng: Random) -> Iterator[Record | Trouble]:
        """One record: up to MOST regions, each in a turn."""
        image, where = self._images[group], f"{self._file}, image {group}"
        try:
            name = self.images.find(str(image.get("file_name")), where=where)
            size_wh = int(image["width"]), int(image["height"])
        except Unusable as unusable:
            yield unusable.trouble
            return
        regions: list[Region] = []
        alone = [each for each in self._of_image[group] if not each.get("iscrowd")]
        for annotation in rng.sample(alone, len(alone)):
            if len(regions) == MOST:
                break
            place = f"{where}, annotation {annotation.get('id')}"
            try:
                region, notes = self._region(annotation, f"region{len(regions) + 1}", size_wh, place)
            except Unusable as unusable:
                yield unusable.trouble
                continue
            yield from notes
            regions.append(region)
        if regions:
            turns = tuple(RecordTurn(ask("class", rng, a=region.name), str(region.label)) for region in regions)
            yield Record(f"{self.name}/{self.split}/{group}", name, size_wh, tuple(regions), turns, self.source, self.licence)

    def _region(
        self, annotation: dict[str, Any], name: str, size_wh: tuple[int, int], where: str
    ) -> tuple[Region, list[Trouble]]:
        label = sentence(self._classes.get(annotation.get("category_id")), where=where, what="class")
        box, notes = fitted(annotation.get("bbox"), format="xywh", size_wh=size_wh, where=where)
        try:
            mask = annotated_mask(annotation["segmentation"], size_wh) if annotation.get("segmentation") else None
        except UserError as error:
            raise Unusable(MALFORMED, where, error.problem) from None
        return Region(name, box, label=label, mask=mask, source=self.source), notes
