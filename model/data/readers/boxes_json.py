"""A user's own boxes as COCO-style JSON: images and annotations, with captions or class names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from roi_agent.model.data.readers.base import MALFORMED, NO_TEXT, Trouble, read_json
from roi_agent.model.data.readers.own_boxes import OwnBox, OwnBoxes
from roi_agent.model.geometry.annotations import as_id
from roi_agent.model.utils.messages import escaped


class BoxesJson(OwnBoxes):
    """Takes the answer from an annotation's `caption`, else its `description`, else the name of its class."""

    name: ClassVar[str] = "boxes-json"
    about: ClassVar[str] = "your own boxes as COCO-style JSON, each with a caption or a class"
    layout: ClassVar[tuple[str, ...]] = (
        "ROOT is the .json file, or contains boxes.json",
        '"images": [{"id", "file_name"}]',
        '"annotations": [{"image_id", "bbox": [x, y, width, height], "caption" or "category_id"}]',
        'boxes in pixels, or in the "unit" of the annotation: normalised, thousandths',
        'if categories are used, "categories": [{"id", "name"}]',
    )

    def boxes(self, path: Path) -> Iterator[tuple[str, OwnBox]]:
        data = read_json(path)
        images = self._by_id(data, "images", "file_name")
        classes = self._by_id(data, "categories", "name") if isinstance(data, Mapping) and "categories" in data else {}
        for where, annotation in self.objects(data, "annotations", "image_id"):
            id = as_id(annotation["image_id"])
            image = None if id is None else images.get(id)
            if image is None:
                problem = f"there is no image with the id {annotation['image_id']!r}"
                self.troubles.append(Trouble(MALFORMED, where, problem))
                continue
            caption, label = annotation.get("caption") or annotation.get("description"), _label(annotation, classes)
            if not caption and label is None:
                self.troubles.append(Trouble(NO_TEXT, where, _lacking(annotation)))
                continue
            yield str(image["file_name"]), _box(annotation, image, caption, label, where)

    def _by_id(self, data: object, key: str, *fields: str) -> dict[int | str, Mapping[str, Any]]:
        return self.unique(self.objects(data, key, "id", *fields), "id")


def _label(annotation: Mapping[str, Any], classes: Mapping[int | str, Mapping[str, Any]]) -> str | None:
    id = as_id(annotation.get("category_id"))
    known = None if id is None else classes.get(id)
    return None if known is None else str(known["name"])


def _lacking(annotation: Mapping[str, Any]) -> str:
    category = annotation.get("category_id")
    unknown = f"its category {escaped(category)} is not in the file's list"
    return "it has neither a caption nor a category" if category is None else unknown


def _box(annotation: Mapping[str, Any], image: Mapping[str, Any], caption: object, label: str | None, where: str) -> OwnBox:
    return OwnBox(
        where,
        annotation.get("bbox"),
        caption or label,
        format="xywh",
        unit=str(annotation.get("unit") or ""),
        wordings="own_text" if caption else "class",
        label=label,
        outline=annotation.get("segmentation"),
        size_wh=(image.get("width"), image.get("height")),
    )
