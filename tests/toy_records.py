"""Small sets of records about held-out scenes of the toy world, as conversions of public data sets leave them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from roi_agent.model.data.art import COLOURS, KINDS
from roi_agent.model.data.questions import TRAINING_SEEDS, Example, make_example
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, write_records
from roi_agent.model.data.scenes import RenderedScene, make_scene, render
from roi_agent.model.data.wording import article
from roi_agent.model.regions import Box, Region

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
        whole = article(thing.name)
        short = article(f"{thing.colour} {thing.kind}")
        turns.append(RecordTurn(f"What is <{region.name}>?", whole, references=(whole, short)))
    yield regions, tuple(turns)


def reasons(rendered: RenderedScene, rng: Random) -> Iterator[tuple[tuple[Region, ...], tuple[RecordTurn, ...]]]:
    """As VCR: whether two regions show the same kind, and why, each with four choices."""
    example = make_example(rendered.scene, "why", rng, alone=1.0)
    regions = things(rendered)
    if example is None or len(regions) < 2:
        return
    a, b = regions[:2]
    same = a.label == b.label
    truth = f"{a.name} is {article(str(a.label))} and {b.name} is {article(str(b.label))}"
    others = [kind for kind in KINDS if kind not in (a.label, b.label)]
    wrong = [f"{a.name} is {article(x)} and {b.name} is {article(y)}" for x, y in zip(others, others[3:], strict=False)][:3]
    answers = ["yes", "no", "none of them", "the colour red"]
    yield (
        (a, b),
        (
            RecordTurn(f"Are <{a.name}> and <{b.name}> the same kind of thing?", "yes" if same else "no", tuple(answers)),
            RecordTurn("Why?", truth, tuple(rng.sample([truth, *wrong], 4))),
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
