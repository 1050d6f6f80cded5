"""What tests of readers share beyond `tests.public_data`: every record is written and read back, and troubles are counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from roi_agent.model.data.readers.base import Trouble
from roi_agent.model.data.record import Record
from tests.public_data import picture as grey
from tests.public_data import read_all, reader, write_json

__all__ = ["changed", "kinds", "picture", "read", "write_json"]


def picture(path: Path) -> None:
    """An image of 100 x 80 pixels."""
    grey(path, (100, 80))


def read(name: str, root: Path, images: Path, *, split: str = "train", seed: int = 0) -> tuple[list[Record], list[Trouble]]:
    """All records of a reader, and all that it left out or fixed."""
    records, troubles = read_all(reader(name, root, split, images=images), seed)
    for record in records:
        assert Record.from_dict(json.loads(json.dumps(record.to_dict())), where="here").turns == record.turns
    assert len({record.id for record in records}) == len(records)
    return records, troubles


def kinds(troubles: list[Trouble]) -> dict[str, int]:
    return dict(Counter(each.kind for each in troubles))


def changed(values: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A copy with other values; `None` removes one."""
    return {key: value for key, value in (values | others).items() if value is not None}
