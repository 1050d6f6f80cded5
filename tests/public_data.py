"""Small files in the layouts of public data sets, written by hand, and what a reader makes of them."""

import json
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.base import Reader, Trouble
from roi_agent.model.data.record import Record

SIZE = (60, 40)  # width and height of every picture


def picture(path: Path, size_wh: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_wh, (90, 120, 150)).save(path)
    return path


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def reader(name: str, root: Path, split: str | None = None, *, images: Path | None = None) -> Reader:
    kind = READERS[name]
    return kind(root, images=images or root / "images", split=split or kind.splits[0])


def read_all(made: Reader, seed: int = 0) -> tuple[list[Record], list[Trouble]]:
    """All records, and all that was left out, in order."""
    records: list[Record] = []
    troubles = list(made.troubles)
    for index, group in enumerate(made.groups()):
        for found in made.read(group, Random(f"{seed} {index}")):
            if isinstance(found, Record):
                records.append(found)
            else:
                troubles.append(found)
    return records, troubles


def kinds(troubles: list[Trouble]) -> list[str]:
    return [each.kind for each in troubles]


def answers(record: Record) -> dict[tuple[float, ...], set[str]]:
    """The right answers of each turn that asks about one region, by the region's box."""
    boxes = {f"<{region.name}>": region.box.xyxy for region in record.regions}
    found: dict[tuple[float, ...], set[str]] = {}
    for turn in record.turns:
        (mention,) = [each for each in boxes if each in turn.question]
        found[boxes[mention]] = set(turn.references or (turn.answer,))
    return found


Json = dict[str, Any]
