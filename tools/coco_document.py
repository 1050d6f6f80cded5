"""COCO instances documents, validated as a whole: images, categories, annotations, and their ids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from roi_agent.model.errors import ImageUnreadable, InvalidSetting, RoiAgentError, UserError
from roi_agent.model.geometry.annotations import annotated_box, annotated_mask, as_id, is_fractions, whole_number
from roi_agent.model.images.folder import ImageFolder, last_part, leads_out
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.utils.messages import escaped

OURS = "roi_agent"  # key of the fields that COCO does not have
_Id = int | str


@dataclass(frozen=True, slots=True)
class CocoDocument:
    """images, labels: by id.  annotations: each refers to one of the images."""

    images: Mapping[_Id, Mapping[str, Any]]
    labels: Mapping[_Id, str]
    annotations: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, document: object) -> "CocoDocument":
        """Read a document from a mapping or the path of its JSON file.  Error: InvalidSetting."""
        coco = _load_document(document)
        images = _index_by_id(coco["images"], "image", "file_name")
        labels = {id: str(item["name"]) for id, item in _index_by_id(coco.get("categories") or [], "category", "name").items()}
        for item in coco["annotations"]:
            if as_id(item.get("image_id")) not in images:
                raise InvalidSetting(
                    f"annotation {escaped(item.get('id'))} belongs to an image that is not listed", do="add the image"
                )
        return cls(images, labels, coco["annotations"])

    def open_images(self, images: str | Path | Mapping[str, object]) -> dict[_Id, LoadedImage]:
        """Load the images, by id.

        images: the folder that contains the files named in the document, or a mapping from file names to images.
        Errors: InvalidSetting, and those of `load_image`.
        """
        folder = None if isinstance(images, Mapping) else ImageFolder(Path(images))
        opened = {}
        for id, item in self.images.items():
            name = str(item["file_name"])
            if folder is not None:
                image = load_image(folder.path / _file_below(folder, name))
            else:
                assert isinstance(images, Mapping)
                image = load_image(images[_image_key(images, name)])
            _check_size(item, name, image.size_wh)
            opened[id] = image
        return opened

    def items(self, size_wh: Mapping[_Id, tuple[int, int]], notes: list[str]) -> dict[_Id, list[dict[str, Any]]]:
        """Convert the annotations of each image to items for `add_regions`.

        An invalid mask is left out if there is a box, and reported in the notes.  Errors: those of the box.
        """
        found: dict[_Id, list[dict[str, Any]]] = {id: [] for id in self.images}
        for item in self.annotations:
            image = as_id(item["image_id"])
            assert image is not None
            try:
                found[image].append(self._item(item, size_wh[image], notes))
            except RoiAgentError as error:
                raise type(error)(f"annotation {escaped(item.get('id'))}: {error.problem}", do=error.do) from None
        return found

    def _item(self, item: Mapping[str, Any], size_wh: tuple[int, int], notes: list[str]) -> dict[str, Any]:
        ours = item.get(OURS) or {}
        wire: dict[str, Any] = {key: ours[key] for key in ("source", "prompt") if key in ours}
        wire |= {"label": ours.get("label") if OURS in item else self._label(item, notes), "score": _score(item.get("score"))}
        if "bbox" in item:
            if is_fractions(item["bbox"]):
                raise InvalidSetting(f"the box {escaped(item['bbox'])} is in fractions", do="give pixels: x, y, width, height")
            wire["box"] = annotated_box(item["bbox"], format="xywh", size_wh=size_wh)
        try:
            if item.get("segmentation"):
                wire["mask"] = annotated_mask(item["segmentation"], size_wh, wire.get("box"))
        except UserError as error:
            if "box" not in wire:
                raise
            notes.append(f"annotation {escaped(item.get('id'))}: its mask was left out: {error.problem}")
        if not wire.keys() & {"box", "mask"}:
            raise InvalidSetting("it has neither a box nor a mask", do="give bbox, or segmentation")
        return wire

    def _label(self, item: Mapping[str, Any], notes: list[str]) -> str | None:
        category = item.get("category_id")
        id = as_id(category)
        label = None if id is None else self.labels.get(id)
        if label is None and category is not None:
            unknown = f"its category {escaped(category)} is not in the document, so it has no label"
            notes.append(f"annotation {escaped(item.get('id'))}: {unknown}")
        return label


def _score(score: object) -> float | None:
    """Return the score, which is a finite number or None.  Error: InvalidSetting."""
    if score is None or (isinstance(score, int | float) and not isinstance(score, bool) and -inf < score < inf):
        return score
    raise InvalidSetting(f"its score is {escaped(score)}", do="give a finite number, or leave it out")


def _load_document(document: object) -> Mapping[str, Any]:
    if isinstance(document, str | Path):
        try:
            document = json.loads(Path(document).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            raise InvalidSetting(f"{Path(str(document)).name!r} is not a readable JSON file", do="give COCO JSON") from None
    lists = [document.get(key) for key in ("images", "annotations")] if isinstance(document, Mapping) else [None]
    if not all(isinstance(each, list) and all(isinstance(item, Mapping) for item in each) for each in lists):
        raise InvalidSetting("this is not a COCO instances document", do='give one with "images" and "annotations"')
    assert isinstance(document, Mapping)
    return document


def _index_by_id(entries: object, what: str, key: str) -> dict[_Id, Mapping[str, Any]]:
    """Index images or categories by id.  Error: InvalidSetting for a missing id or name, or an id that is used twice."""
    found: dict[_Id, Mapping[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, Mapping) or entry.get("id") is None or entry.get(key) is None:
            raise InvalidSetting("an image or category of the document has no id or no name", do="give COCO JSON")
        id = as_id(entry["id"])
        if id is None:
            raise InvalidSetting(f"the {what} id {escaped(entry['id'])} is invalid", do="give a whole number or a text")
        if found.setdefault(id, entry) != entry:
            several = {"image": "images", "category": "categories"}[what]
            raise InvalidSetting(f"two {several} have the id {escaped(id)}", do="give each an id of its own")
    return found


def _file_below(folder: ImageFolder, name: str) -> str:
    if leads_out(name):
        raise InvalidSetting(f"the image {escaped(name)} is not below the folder of images", do="give names below the folder")
    found = folder.find(name)
    if len(found) > 1:
        raise InvalidSetting(f"{len(found)} images are called {last_part(name)}", do="give the path below the folder")
    if not found:
        raise ImageUnreadable(f"there is no image {escaped(name)} in the folder of images", do="check the folder and the name")
    return found[0]


def _image_key(images: Mapping[str, object], name: str) -> str:
    """Return the key for a file name: the name itself, or the only key with the same last part."""
    if name in images:
        return name
    same = [each for each in images if last_part(each) == last_part(name)] if name != last_part(name) else []
    if len(same) != 1:
        raise InvalidSetting(f"the image {name!r} is not among those given", do="give it under this name")
    return same[0]


def _check_size(item: Mapping[str, Any], name: str, size_wh: tuple[int, int]) -> None:
    """Check the size that the document states, if any, against the image.  Error: InvalidSetting."""
    for key, real in zip(("width", "height"), size_wh, strict=True):
        stated = item.get(key)
        number = whole_number(stated)
        if stated is not None and number is None:
            raise InvalidSetting(f"the image {name!r} has the {key} {escaped(stated)}", do="give a whole number, or leave it out")
        if number not in (None, real):
            raise InvalidSetting(f"the image {name!r} does not have the size in the document", do="give the right image")
