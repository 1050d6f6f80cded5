"""Own boxes as COCO writes them: images and annotations, with texts of their own or the names of classes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from roi_agent.model.data.readers.base import MALFORMED, Trouble, read_json
from roi_agent.model.data.readers.own import OwnBox, OwnBoxes


class BoxesJson(OwnBoxes):
    """The answer is an annotation's `caption`, or its `description`, or else the name of its class."""

    name: ClassVar[str] = "boxes-json"
    about: ClassVar[str] = "your own boxes as COCO-style JSON: a caption, or the name of its class, for each"
    layout: ClassVar[tuple[str, ...]] = (
        "ROOT is the .json file, or holds boxes.json",
        '"images": [{"id", "file_name"}]',
        '"annotations": [{"image_id", "bbox": [x, y, width, height], "caption" or "category_id"}]',
        'where categories are used, "categories": [{"id", "name"}]',
    )

    def boxes(self, path: Path) -> Iterator[tuple[str, OwnBox]]:
        data = read_json(path)
        images = {image["id"]: image for _, image in self.objects(data, "images", "id", "file_name")}
        classes: dict[Any, Any] = {}
        if isinstance(data, Mapping) and "categories" in data:
            classes = {each["id"]: each["name"] for _, each in self.objects(data, "categories", "id", "name")}
        for where, annotation in self.objects(data, "annotations", "image_id"):
            image = images.get(annotation["image_id"])
            if image is None:
                self.trouble.append(Trouble(MALFORMED, where, f"there is no image with the id {annotation['image_id']!r}"))
                continue
            yield str(image["file_name"]), _box(annotation, image, classes, where)


def _box(annotation: Mapping[str, Any], image: Mapping[str, Any], classes: Mapping[Any, Any], where: str) -> OwnBox:
    category = annotation.get("category_id")
    label = classes.get(category) if isinstance(category, int | str) else None
    label = str(label) if label is not None else None
    caption = annotation.get("caption") or annotation.get("description")
    return OwnBox(
        where,
        annotation.get("bbox"),
        caption or label,
        format="xywh",
        wordings="own_text" if caption else "class",
        label=label,
        outline=annotation.get("segmentation"),
        size_wh=(image["width"], image["height"]) if "width" in image and "height" in image else None,
    )
