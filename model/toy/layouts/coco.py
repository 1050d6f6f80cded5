"""Scenes as COCO instances: the classes are the kinds of things, and the masks their visible pixels."""

from collections.abc import Sequence
from pathlib import Path

from roi_agent.model.toy.layouts.files import CocoTables, render_images, split_seeds, write_json


def write_coco(folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `annotations/instances_train2017.json`, `instances_val2017.json`, and the images in `images/`."""
    for split, chosen in split_seeds(seeds).items():
        tables, names = CocoTables(), {seed: f"{split}2017/{seed:012d}.jpg" for seed in chosen}
        for scene in render_images(folder, names, side):
            tables.add(scene, f"{scene.scene.seed:012d}.jpg")
        write_json(folder / "annotations" / f"instances_{split}2017.json", tables.to_dict())
