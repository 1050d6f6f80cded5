"""Scenes as Visual Genome's region descriptions: every thing is a region, described by its full name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roi_agent.model.data.english import with_article
from roi_agent.model.toy.layouts.files import render_images, split_seeds, write_json, xywh
from roi_agent.model.toy.world.scenes import Thing


def write_visual_genome(folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `region_descriptions.json`, `image_data.json`, `train_ids.json`, `val_ids.json`, and the images in two folders."""
    described, images = list[dict[str, Any]](), list[dict[str, Any]]()
    for split, chosen in split_seeds(seeds).items():
        write_json(folder / f"{split}_ids.json", chosen)
        names = {seed: f"{('VG_100K', 'VG_100K_2')[seed % 2]}/{seed}.jpg" for seed in chosen}
        for scene in render_images(folder, names, side):
            id, regions = scene.scene.seed, list[dict[str, Any]]()
            for thing, box in zip(scene.scene.things, scene.boxes.tolist(), strict=True):
                place = dict(zip(("x", "y", "width", "height"), xywh(box), strict=True))
                number = 10 * id + len(regions)
                regions.append({"region_id": number, "image_id": id, "phrase": description(thing)} | place)
            described.append({"id": id, "regions": regions})
            width, height = scene.image.size
            images.append({"image_id": id, "width": width, "height": height, "url": "", "coco_id": None, "flickr_id": None})
    write_json(folder / "region_descriptions.json", described)
    write_json(folder / "image_data.json", images)


def description(thing: Thing) -> str:
    """Return a description such as "a large red star"."""
    return with_article(thing.name)
