"""Small data sets in COCO's layout, and what a conversion makes of them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

from roi_agent.model.data.conversion import ConversionSettings, convert
from roi_agent.model.data.readers.base import Reader, Trouble
from roi_agent.model.data.readers.coco import CocoInstances
from roi_agent.model.data.record import Record
from tests.public_data import Json, picture, write_json

COUNT = 60  # images; every tenth has a box outside, and one is missing


def content(count: int = COUNT) -> Json:
    images = [{"id": id, "file_name": f"{id}.jpg", "width": 60, "height": 40} for id in range(count)]
    annotations = [
        {"id": 2 * id + each, "image_id": id, "category_id": 1, "bbox": [10 * each, 5, 20 + 60 * (id % 10 == 9 and each), 9]}
        for id in range(count)
        for each in (0, 1)
    ]
    annotations.append({"id": 9999, "image_id": 777, "category_id": 1, "bbox": [0, 0, 1, 1]})
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "café"}]}


def make_data(root: Path, count: int = COUNT) -> Path:
    """Many images are links to one file."""
    first = picture(root / "images" / "0.jpg")
    for id in range(1, count):
        if id != 33:
            os.link(first, root / "images" / f"{id}.jpg")
    write_json(root / "instances_all.json", content(count))
    return root


def coco(root: Path, kind: type[CocoInstances] = CocoInstances) -> Reader:
    return kind(root, images=root / "images", split="all")


def settings(form: str = "jsonl", processes: int = 1, groups: int = 7, **more: object) -> ConversionSettings:
    return ConversionSettings(**{"format": form, "processes": processes, "groups": groups, **more})  # type: ignore[arg-type]


def converted(root: Path, folder: Path, chosen: ConversionSettings) -> dict[str, bytes]:
    convert(coco(root), folder, chosen, show_progress=False)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.glob("records-*") if path.name.count(".") == 1]


class Gone(CocoInstances):
    """Ends its process at one image, as the system does where memory runs out."""

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        if group == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(group, rng)
