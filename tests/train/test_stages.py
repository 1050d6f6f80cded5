"""The paper's stages in small, from a few records in the public layouts: each goes on from the one before."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from roi_agent.model.train.config_files import read_values
from roi_agent.model.train.starting import NANO
from tests.commands import Runner

SCENES, SIDE = 3, 64
LAYOUTS = ("coco", "refcoco", "refcoco+", "refcocog", "flickr30k", "visual-genome", "llava-instruct", "vcr")
PARTS = ("vision_tower", "region_encoder", "projector", "language_model")
Weights = dict[str, torch.Tensor]


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def change(before: Weights, after: Weights, part: str) -> float:
    """How far the matrices of a part have moved, as a share of their size: 0 where it is frozen, 1.4 for other random ones."""
    assert set(before) == set(after)
    names = [name for name, value in before.items() if name.startswith(f"{part}.") and value.dim() > 1]
    moved, size = (torch.cat([each.flatten() for each in some]) for some in _pairs(before, after, names))
    return float(moved.norm() / size.norm())


def _pairs(before: Weights, after: Weights, names: list[str]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [after[name] - before[name] for name in names], [before[name] for name in names]


@pytest.mark.sweep
def test_nano_goes_through_all_stages_and_each_continues_from_the_one_before(run: Runner, tmp_path: Path) -> None:
    public, sets = tmp_path / "public", tmp_path / "sets"
    for layout in LAYOUTS:
        made = run("scenes", str(public / layout), "--layout", layout, "--count", str(SCENES), "--side", str(SIDE))
        assert made.code == 0, made.err
        converted = run("data", "convert", layout, str(public / layout), str(sets / f"{layout}-train"))
        assert converted.code == 0, converted.err

    steps = [weights(NANO)]
    start = "nano"
    for config, options in (("nano-stage1", ("--reset", "region_encoder")), ("nano-stage2", ()), ("nano-vcr", ())):
        folder = tmp_path / config
        trained = run("train", config, "--data", str(sets), "--from", start, *options, "--out", str(folder))
        assert trained.code == 0, trained.err
        start = str(folder / "model")
        steps.append(weights(folder / "model"))

    nano, first, second, vcr = steps
    moved = {part: [change(*pair, part) for pair in ((nano, first), (first, second), (second, vcr))] for part in PARTS}
    assert moved["vision_tower"] == [0, 0, 0]
    assert moved["projector"][0] == moved["language_model"][0] == 0
    assert moved["region_encoder"][0] > 0.9, "it started anew"
    for part in PARTS[1:]:
        assert all(0 < each < 0.2 for each in moved[part][1:]), part


@pytest.mark.parametrize(("small", "large"), [("nano-stage1", "stage1-7b"), ("nano-stage2", "stage2-7b"), ("nano-vcr", "vcr-7b")])
def test_a_small_stage_learns_the_same_parts_from_the_same_sets_as_the_large_one(small: str, large: str) -> None:
    ours, theirs = read_values(small), read_values(large)
    assert ours["trained"] == theirs["trained"]
    assert set(ours["data"]) == set(theirs["data"])
    assert ours.get("letters") == theirs.get("letters")
