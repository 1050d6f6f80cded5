"""Small data sets in public layouts, made by hand for the tests of readers."""

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.base import Trouble
from roi_agent.model.data.record import Record


def picture(path: Path, size_wh: tuple[int, int] = (100, 80)) -> None:
    """A grey image, in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_wh, "grey").save(path)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def read(name: str, root: Path, images: Path, *, split: str = "train", seed: int = 0) -> tuple[list[Record], list[Trouble]]:
    """All records of a reader, each written and read back, and all that it left out or mended."""
    reader = READERS[name](root, images=images, split=split)
    records: list[Record] = []
    troubles = list(reader.trouble)
    for index, group in enumerate(reader.groups()):
        for found in reader.read(group, Random(f"{seed} {index}")):
            if isinstance(found, Record):
                assert Record.from_dict(json.loads(json.dumps(found.to_dict())), where="here").turns == found.turns
                records.append(found)
            else:
                troubles.append(found)
    assert len({record.id for record in records}) == len(records)
    return records, troubles


def kinds(troubles: list[Trouble]) -> dict[str, int]:
    return dict(Counter(each.kind for each in troubles))


def changed(values: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A copy with other values; `None` removes one."""
    return {key: value for key, value in (values | others).items() if value is not None}
