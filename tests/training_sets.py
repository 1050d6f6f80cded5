"""Small record sets of toy scenes, as a conversion would leave them."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from PIL import Image

from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, write_records
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.toy.questions.questions import FAMILY_NAMES, TRAINING_SEEDS, make_example
from roi_agent.model.toy.world.scenes import make_scene, render_image

SIDE = 64


def scene_records(seed: int, families: Sequence[str], count: int) -> list[Record]:
    """Conversations about one scene, at most `count`."""
    scene, rng = make_scene(TRAINING_SEEDS + seed), Random(seed)
    records: list[Record] = []
    for number in range(20 * count):  # not every scene offers every family
        example = make_example(scene, families[number % len(families)], rng) if len(records) < count else None
        if example:
            boxes = {name: [SIDE * value for value in scene.things[thing].box] for name, thing in example.regions}
            regions = tuple(Region(name, Box(*box)) for name, box in boxes.items())
            turns = tuple(RecordTurn(turn.question, str(turn.answer)) for turn in example.turns)
            size = (SIDE, SIDE)
            records.append(Record(f"toy/{seed}-{len(records)}", f"{seed}.png", size, regions, turns, "toy world", "CC0-1.0"))
    return records


def write_set(
    root: Path, name: str, *, scenes: int, first: int = 0, each: int = 3, families: Sequence[str] = FAMILY_NAMES
) -> list[Record]:
    """A record set `root/name`, with its images below it; returns its records."""
    folder = root / name
    (folder / "images").mkdir(parents=True)
    records = []
    for seed in range(first, first + scenes):
        Image.fromarray(render_image(make_scene(TRAINING_SEEDS + seed), SIDE)).save(folder / "images" / f"{seed}.png")
        records += scene_records(seed, families, each)
    write_records(folder / "records-00000.jsonl", records)
    Card(name, "images", len(records), "toy world", "CC0-1.0").save(folder)
    return records
