"""Detections for the images of LLaVA-Instruct, from a pickle of plain data.

The authors of GPT4RoI use `llava_150k_bbox_pred_results.pkl`, whose layout is not documented. The usual output layouts of
detectors are read; any other is rejected with a description of its content.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from roi_agent.model.data.readers.plain_pickle import load_plain_pickle
from roi_agent.model.errors import RecordInvalid
from roi_agent.model.geometry.annotations import as_id, is_fractions
from roi_agent.model.images.folder import last_part
from roi_agent.model.utils.messages import escaped

Detections = dict[str, list[Any]]  # by file name of the image: {"box": [x1, y1, x2, y2], "label": ..., "score": ...}

PICKLE = "llava_150k_bbox_pred_results.pkl"
_BOX = ("box", "bbox", "boxes", "bboxes", "pred_boxes", "pred_bboxes")
_LABEL = (
    *("label", "class_name", "category_name", "category", "class", "name", "labels", "class_names", "category_names", "classes"),
    *("pred_classes", "pred_labels", "names"),
)
_SCORE = ("score", "confidence", "scores", "confidences", "pred_scores")
_IMAGE = (
    "file_name",
    "image",
    "img",
    "filename",
    "image_path",
    "img_path",
    "path",
    "image_name",
    "img_name",
    "image_id",
    "img_id",
    "id",
)
_NAMES, _RESULTS = ("classes", "class_names", "categories", "names"), ("results", "detections", "predictions", "images")


def read_pickle(path: Path) -> Detections:
    """Read a pickle of detections.  Errors: DataNotFound; RecordInvalid for an unknown layout, or other than plain data."""
    return _Layout(path.name).read(load_plain_pickle(path))


class _Layout:
    """Recognises the layout of a detector's output.  name: of the file, for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._classes: Sequence[Any] = ()

    def read(self, value: Any) -> Detections:
        if isinstance(value, Mapping) and (results := _first(value, _RESULTS)) is not None:
            names = _first(value, _NAMES)
            self._classes = names if isinstance(names, list | tuple) else ()
            value = results
        found: Detections = {}
        for image, detected in self._detections_by_image(value):
            found.setdefault(image, []).extend(detected)
        if not any(found.values()):
            self._refuse("it contains no detections")
        boxes = [each["box"] for each in _all_detections(found)]
        if all(is_fractions(box) for box in boxes):
            for each in _all_detections(found):
                each["unit"] = "normalised"
        return found

    def _detections_by_image(self, value: Any) -> Iterator[tuple[str, list[Any]]]:
        """Yield each image with its detections."""
        if isinstance(value, Mapping):
            for key, detected in value.items():
                yield self._file_name(key), list(self._detections_of(detected, corners=True))
        elif isinstance(value, list | tuple):
            for entry in value:
                image = _first(entry, _IMAGE) if isinstance(entry, Mapping) else None
                if image is None:
                    self._refuse(f"an entry has {_keys(entry)}, but no image")
                one = "bbox" in entry and _is_box(entry["bbox"])  # COCO's results: one detection each, xywh
                inside = _first(entry, ("detections", "instances", "objects", "predictions"))
                yield (
                    self._file_name(image),
                    list(self._detections_of([entry] if one else entry if inside is None else inside, corners=not one)),
                )
        else:
            self._refuse(f"it is {escaped(value) if value is None else 'a ' + type(value).__name__}")

    def _detections_of(self, value: Any, *, corners: bool) -> Iterator[dict[str, Any]]:
        """Yield the detections of an image, from a list or from columns.  corners: boxes are xyxy, else xywh."""
        if isinstance(value, Mapping):
            yield from self._from_columns(value)
        elif isinstance(value, list | tuple):
            for each in value:
                row: tuple[Any, ...] = tuple(
                    _first(each, keys) if isinstance(each, Mapping) else None for keys in (_BOX, _LABEL, _SCORE)
                )
                if None in row or not _is_box(row[0]):
                    self._refuse(f"a detection has {_keys(each)}")
                yield self._detection(row[0], row[1], row[2], corners)
        else:
            self._refuse(f"the detections of an image are a {type(value).__name__}")

    def _from_columns(self, columns: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
        found = [_first(columns, keys) for keys in (_BOX, _LABEL, _SCORE)]
        if not all(isinstance(each, list | tuple) for each in found):
            self._refuse(f"an image has {_keys(columns)}")
        boxes, labels, scores = found
        if len({len(each) for each in found}) > 1:
            self._refuse(f"an image has {len(boxes)} boxes, {len(labels)} labels and {len(scores)} scores")
        for box, label, score in zip(boxes, labels, scores, strict=True):
            if not _is_box(box):
                self._refuse(f"a box is {escaped(box)}")
            yield self._detection(box, label, score, True)

    def _detection(self, box: Sequence[float], label: Any, score: Any, corners: bool) -> dict[str, Any]:
        if isinstance(label, int):
            if not 0 <= label < len(self._classes):
                self._refuse(f"its classes are numbers, such as {label}, without a list of names")
            label = self._classes[label]
        a, b, c, d = box
        if corners and (c < a or d < b):
            self._refuse(f"a box is {escaped(box)}, not two corners")
        return {"box": [a, b, c, d] if corners else [a, b, a + c, b + d], "label": label, "score": score}

    def _file_name(self, image: Any) -> str:
        """Return the file name of an image; an integer is an image id of COCO."""
        id = as_id(image)
        if id is None:
            self._refuse(f"an image is {escaped(image)}")
        if isinstance(id, int):
            return f"{id:012d}.jpg"
        name = last_part(id)
        return name if "." in name else f"{name}.jpg"

    def _refuse(self, found: str) -> NoReturn:
        wanted = "boxes (x1, y1, x2, y2), labels as text, and scores for each image"
        raise RecordInvalid(f"{self._name}: unknown layout: {found}", do=f"give {wanted}, or detections.json")


def _all_detections(found: Detections) -> Iterable[Any]:
    return (each for detected in found.values() for each in detected)


def _first(value: Any, keys: Sequence[str]) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None) if isinstance(value, Mapping) else None


def _is_box(value: Any) -> bool:
    plain = isinstance(value, list | tuple) and len(value) == 4
    return plain and all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)


def _keys(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"a {type(value).__name__}"
    return ", ".join(str(key) if isinstance(key, str | int) else type(key).__name__ for key in list(value)[:8]) or "nothing"
