"""What layouts of toy scenes share: which split a scene is in, its image, and files of JSON."""

import json
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from roi_agent.model.data.questions import TRAINING_SEEDS


def split_of(seed: int) -> str:
    """train, or val for scenes that are held out."""
    return "train" if seed >= TRAINING_SEEDS else "val"


def save_jpeg(image: Image.Image, path: Path) -> None:
    """Hardly compressed: colours of small things must stay what they are called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95, subsampling=0)


def save_json(value: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def save_json_lines(values: Iterable[object], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in values), encoding="utf-8")
