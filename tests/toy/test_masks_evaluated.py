"""Masks of records in evaluations: a model that pools by masks gets them, and none stays behind on a shuffled box."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from roi_agent.evaluation.outputs import RunFolder
from roi_agent.evaluation.running import EvaluationSettings, plan_evaluation
from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, write_records
from roi_agent.model.evaluate.benches import BENCHES
from roi_agent.model.evaluate.sample import RIGHT, SHUFFLED, Output, Sample
from roi_agent.model.evaluate.shuffling import shuffle_boxes
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from tests.benchmarks.ablation_scenes import SIDE, overlapping_scene, picture_of
from tests.commands import Runner

NANO = Path(__file__).parents[2] / "model" / "nano"
SCENES = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`masked/`, things that lie on one another, each with its kind and its mask; `plain/`, the same without masks.

    `model/`: nano that pools by masks.
    """
    folder = tmp_path_factory.mktemp("data")
    records = []
    for name in ("masked", "plain"):
        (folder / name / "images").mkdir(parents=True)
    for seed in range(420_000, 420_000 + SCENES):
        picture = picture_of(overlapping_scene(seed))
        for name in ("masked", "plain"):
            picture.image.pixels.save(folder / name / "images" / f"{seed}.png")
        pairs = zip(picture.regions, picture.scene.things, strict=True)
        turns = tuple(RecordTurn(f"What kind of thing is <{region.name}>?", thing.kind) for region, thing in pairs)
        records.append(Record(str(seed), f"{seed}.png", (SIDE, SIDE), picture.regions, turns, "toy world", "CC0-1.0"))
    bare = [replace(each, regions=tuple(replace(region, mask=None) for region in each.regions)) for each in records]
    for name, some in (("masked", records), ("plain", bare)):
        write_records(folder / name / "records-00000.jsonl", some)
        Card(name, "images", len(some), "toy world", "CC0-1.0").save(folder / name)
    for part in load_adapted(NANO, mask_pooling=True):
        part.save_pretrained(folder / "model")
    return folder


def test_the_command_gives_masks_to_a_model_that_pools_by_them(root: Path, tmp_path: Path, run: Runner) -> None:
    found = {}
    for model in ("nano", str(root / "model")):
        for data in ("masked", "plain"):
            out = tmp_path / f"{Path(model).name}-{data}"
            done = run("evaluate", "boxes", "--data", str(root / data), "--model", model, "--out", str(out), "--json")
            assert done.code == 0 and json.loads(done.out)["figures"]
            found[Path(model).name, data] = outputs(root / data, out)
    same(found["nano", "masked"], found["nano", "plain"])
    same(found["nano", "plain"], found["model", "plain"])
    masked, plain = found["model", "masked"], found["model", "plain"]
    same(*({key: each for key, each in some.items() if each.boxes == SHUFFLED} for some in (masked, plain)))
    right = [key for key, each in masked.items() if each.boxes == RIGHT and each.scores]
    moved = [key for key in right if masked[key].scores != pytest.approx(plain[key].scores, abs=1e-2)]
    assert len(right) >= 4 * SCENES and len(moved) > len(right) / 2
    assert any(masked[key].text != plain[key].text for key in right)


def outputs(data: Path, out: Path) -> dict[tuple[str, int, str, str], Output]:
    return dict(RunFolder(out).outputs(plan_evaluation(EvaluationSettings("boxes", data, out)).samples))


def same(one: dict[tuple[str, int, str, str], Output], other: dict[tuple[str, int, str, str], Output]) -> None:
    assert one.keys() == other.keys() and one
    for key, each in one.items():
        assert each.text == other[key].text and each.scores == pytest.approx(other[key].scores, abs=1e-3)


@pytest.mark.parametrize("boxes", [[(0, 0, 10, 10), (20, 0, 30, 10)], [(0, 0, 10, 10)], [(0, 0, 10, 10)] * 2, [(0, 0, 40, 40)]])
def test_a_region_that_gets_another_box_does_not_keep_its_mask(boxes: list[tuple[float, float, float, float]]) -> None:
    regions = tuple(Region(f"region{number}", Box(*box), mask=filled(box, number)) for number, box in enumerate(boxes, start=1))
    turns = tuple(RecordTurn(f"Is <{region.name}> a cat?", "yes") for region in regions)
    record = Record("a", "1.png", (40, 40), regions, turns, "ours", "CC0-1.0")
    samples = [Sample("a", turn, "part", "1.png", record.conversation()[:1], regions, "yes") for turn in range(len(turns))]
    for sample in shuffle_boxes(samples, [record], seed=0):
        assert all(region.mask is None for region in sample.regions)
        assert all(after.box != before.box for after, before in zip(sample.regions, regions, strict=True))


def filled(box: tuple[float, float, float, float], rows: int) -> Mask:
    """Some of a box's rows."""
    x1, y1, x2, _ = map(int, box)
    array = [[x1 <= x < x2 and y1 <= y < y1 + rows for x in range(40)] for y in range(40)]
    return Mask.from_array(array)


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_asks_with_the_masks_of_its_records(name: str) -> None:
    regions = tuple(
        Region(f"region{number}", Box(0, 0, 10, 10), label=label, mask=filled((0, 0, 10, 10), number))
        for number, label in enumerate(("cat", "dog"), start=1)
    )
    options = ("cat", "dog", "cup", "bus")
    turns = tuple(
        RecordTurn(f"What is <{region.name}>?", str(region.label), options if name in ("vcr", "visual7w") else ())
        for region in regions
    )
    record = Record("a", "1.png", (40, 40), regions, turns, "ours", "CC0-1.0")
    masks = {region.name: region.mask for region in regions}
    samples = BENCHES[name]().samples([record], seed=0)
    assert samples and all(region.mask == masks[region.name] for sample in samples for region in sample.regions)
    assert any(sample.regions for sample in samples)
