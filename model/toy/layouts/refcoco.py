"""Scenes as RefCOCO, RefCOCO+ and RefCOCOg in REFER's layout: a pickle of plain data beside `instances.json`."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roi_agent.model.toy.layouts.expressions import as_caption, by_looks, by_place
from roi_agent.model.toy.layouts.files import CocoTables, render_images, split_seeds, write_json
from roi_agent.model.toy.world.art import KINDS

EXPRESSIONS = {"refcoco": by_place, "refcoco+": by_looks, "refcocog": as_caption}
_PARTITIONS = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}


def write_refcoco(name: str, folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `NAME/refs(unc).p` (`refs(umd).p` for RefCOCOg), `NAME/instances.json`, and the images in `images/train2014/`."""
    tables, refs = CocoTables(), list[dict[str, Any]]()
    for split, chosen in split_seeds(seeds).items():
        names = {seed: f"train2014/COCO_train2014_{seed:012d}.jpg" for seed in chosen}
        for scene in render_images(folder, names, side):
            file = Path(names[scene.scene.seed]).name
            for id, thing in zip(tables.add(scene, file), scene.scene.things, strict=True):
                ref = {"ref_id": len(refs), "ann_id": id, "image_id": scene.scene.seed, "split": split}
                more = {"file_name": file.replace(".jpg", f"_{id}.jpg"), "category_id": KINDS.index(thing.kind) + 1}
                refs.append(ref | more | _sentences(EXPRESSIONS[name](scene.scene, thing), 10 * len(refs)))
    write_json(folder / name / "instances.json", tables.to_dict())
    (folder / name / f"refs({_PARTITIONS[name]}).p").write_bytes(pickle.dumps(refs, protocol=2))


def _sentences(phrases: Sequence[str], first: int) -> dict[str, Any]:
    """Return REFER's fields for the phrases of one region.  first: id of the first phrase."""
    numbered = list(enumerate(phrases, start=first))
    sentences = [{"sent_id": id, "sent": text, "raw": text, "tokens": text.split()} for id, text in numbered]
    return {"sent_ids": [id for id, _ in numbered], "sentences": sentences}
