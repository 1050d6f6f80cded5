"""Helpers of the layouts: splits, image files, JSON files and COCO's tables."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roi_agent.model.geometry.masks import Mask
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.art import KINDS
from roi_agent.model.toy.world.scenes import RenderedScene, make_scene, render

IMAGES = "images"


def split_seeds(seeds: Sequence[int]) -> dict[str, list[int]]:
    """Return the seeds of the splits train and val, sorted; a split may be empty."""
    unique = sorted(set(seeds))
    return {"train": [seed for seed in unique if seed >= TRAINING_SEEDS], "val": [s for s in unique if s < TRAINING_SEEDS]}


def render_images(folder: Path, names: Mapping[int, str], side: int) -> Iterator[RenderedScene]:
    """Write the images of scenes and yield the rendered scenes.  names: file names in IMAGES, by seed."""
    for seed, name in names.items():
        scene = render(make_scene(seed), side)
        path = folder / IMAGES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scene.image.save(path, quality=95)
        yield scene


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class CocoTables:
    """COCO's tables of images, annotations and categories; the categories are the kinds of the toy world."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, scene: RenderedScene, name: str) -> list[int]:
        """Add an image with all its things; return the ids of the annotations, in the order of the things."""
        width, height = scene.image.size
        self.images.append({"id": scene.scene.seed, "file_name": name, "width": width, "height": height})
        first = len(self.annotations) + 1
        for index, thing in enumerate(scene.scene.things):
            self.annotations.append(
                {
                    "id": first + index,
                    "image_id": scene.scene.seed,
                    "category_id": KINDS.index(thing.kind) + 1,
                    "bbox": xywh(scene.boxes[index].tolist()),
                    "area": int(np.count_nonzero(scene.masks[index])),
                    "iscrowd": 0,
                    "segmentation": Mask.from_array(scene.masks[index]).to_coco(),
                }
            )
        return list(range(first, first + len(scene.scene.things)))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the JSON file."""
        categories = [{"id": id, "name": kind, "supercategory": "thing"} for id, kind in enumerate(KINDS, start=1)]
        head: dict[str, Any] = {"info": {"description": "scenes of the toy world"}, "licenses": []}
        return head | {"images": self.images, "annotations": self.annotations, "categories": categories}


def xywh(xyxy: Sequence[float]) -> list[float]:
    """Convert an xyxy box to xywh."""
    x1, y1, x2, y2 = xyxy
    return [x1, y1, x2 - x1, y2 - y1]
