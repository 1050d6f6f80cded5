"""Small sets of records about held-out scenes of the toy world, as conversions of public data sets leave them."""

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from random import Random

from roi_agent.model.data.english import with_article
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, write_records
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.toy.questions.families import MARGIN
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS, Example, make_example
from roi_agent.model.toy.world.art import COLOURS
from roi_agent.model.toy.world.scenes import RenderedScene, make_scene, render

SIDE = 384
Maker = Callable[[RenderedScene, Random], Iterator[tuple[tuple[Region, ...], tuple[RecordTurn, ...]]]]


def write_set(folder: Path, make: Maker, *, scenes: int, first_seed: int = 0, name: str = "toy") -> Path:
    """A folder with a card, records and the images of so many scenes."""
    assert first_seed + scenes <= TRAINING_SEEDS
    (folder / "images").mkdir(parents=True)
    records = list(_records(folder / "images", make, range(first_seed, first_seed + scenes)))
    write_records(folder / "records-00000.jsonl", records)
    Card(name, "images", len(records), "toy world", "Apache-2.0").save(folder)
    return folder


def _records(images: Path, make: Maker, seeds: range) -> Iterator[Record]:
    for seed in seeds:
        rendered = render(make_scene(seed), SIDE)
        made = list(make(rendered, Random(seed)))
        if made:
            rendered.image.save(images / f"{seed}.png")
        for number, (regions, turns) in enumerate(made):
            yield Record(f"toy/{seed}/{number}", f"{seed}.png", (SIDE, SIDE), regions, turns, "toy world", "Apache-2.0")


def things(rendered: RenderedScene) -> tuple[Region, ...]:
    """A region for every thing, with its kind for a label."""
    pairs = zip(rendered.scene.things, rendered.boxes.tolist(), strict=True)
    return tuple(Region(f"region{number}", Box(*box), label=thing.kind) for number, (thing, box) in enumerate(pairs, start=1))


def kinds(rendered: RenderedScene, rng: Random) -> Iterator[tuple[tuple[Region, ...], tuple[RecordTurn, ...]]]:
    """As COCO: the class of every region, each in a turn."""
    regions = things(rendered)
    yield regions, tuple(RecordTurn(f"What kind of thing is <{each.name}>?", str(each.label)) for each in regions)


def names(rendered: RenderedScene, rng: Random) -> Iterator[tuple[tuple[Region, ...], tuple[RecordTurn, ...]]]:
    """As region captions: every thing by its full name, with and without its size."""
    regions = things(rendered)
    turns = []
    for region, thing in zip(regions, rendered.scene.things, strict=True):
        whole = with_article(thing.name)
        short = with_article(f"{thing.colour} {thing.kind}")
        turns.append(RecordTurn(f"What is <{region.name}>?", whole, references=(whole, short)))
    yield regions, tuple(turns)


def reasons(rendered: RenderedScene, rng: Random) -> Iterator[tuple[tuple[Region, ...], tuple[RecordTurn, ...]]]:
    """As VCR: whether one region is left of another, and why, each with four choices."""
    regions = things(rendered)
    middles = [thing.box[0] + thing.box[2] for thing in rendered.scene.things]
    pairs = [(i, j) for i, j in permutations(range(len(regions)), 2) if abs(middles[i] - middles[j]) > 4 * MARGIN]
    if not pairs:
        return
    i, j = rng.choice(pairs)
    a, b = regions[i], regions[j]
    left = middles[i] < middles[j]
    sides = [f"{a.name} is at the {side} of {b.name}" for side in ("left", "right")]
    others = [f"{a.name} is larger than {b.name}", f"{a.name} is {with_article(str(a.label))}"]
    yield (
        tuple(sorted((a, b), key=lambda region: region.name)),
        (
            RecordTurn(f"Is <{a.name}> left of <{b.name}>?", "yes" if left else "no", ("yes", "no", "none of them", "red")),
            RecordTurn("Why?", sides[0 if left else 1], tuple(rng.sample([*sides, *others], 4))),
        ),
    )


def closed(rendered: RenderedScene, rng: Random) -> Iterator[tuple[tuple[Region, ...], tuple[RecordTurn, ...]]]:
    """As Visual7W: the colour of a region with four options, and which of the regions is leftmost."""
    regions = things(rendered)
    thing = rendered.scene.things[0]
    colours = rng.sample([each for each in COLOURS if each != thing.colour], 3)
    options = tuple(rng.sample([thing.colour, *colours], 4))
    yield regions[:1], (RecordTurn("What colour is <region1>?", thing.colour, options),)
    pointing = make_example(rendered.scene, "leftmost", rng, alone=0.0)
    if pointing is not None and len(pointing.regions) > 1:
        yield _pointing(rendered, pointing)


def _pointing(rendered: RenderedScene, example: Example) -> tuple[tuple[Region, ...], tuple[RecordTurn, ...]]:
    regions = tuple(Region(name, Box(*rendered.boxes[index].tolist())) for name, index in example.regions)
    turn = example.turns[-1]
    assert turn.answer is not None
    return regions, (RecordTurn(turn.question, turn.answer, tuple(region.name for region in regions)),)
