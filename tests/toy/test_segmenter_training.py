"""The segmenter's training: its samples are true, its loss is right, it learns and resumes, and how it is measured."""

import csv
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask, TransformersSegmenter
from roi_agent.model.toy.evaluate.segmentation import (
    BOX,
    EVERYTHING,
    GOALS,
    POINT,
    MaskResult,
    evaluate_segmentation,
    iou,
    segmentation_scores,
)
from roi_agent.model.toy.samples.prompts import POINTS, PointedDataset, collate_pointed, pixel_of, pointed_sample
from roi_agent.model.toy.train import domain as familiar
from roi_agent.model.toy.train import phases
from roi_agent.model.toy.train.segmentation_loss import decoded_loss, mask_ious, prompts_loss
from roi_agent.model.toy.train.segmenter import SegmenterTrainee
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.world.scenes import make_scene, render
from tests.interrupted_steps import stop_at

PARTS = ("shared_image_embedding", "vision_encoder", "prompt_encoder", "mask_decoder")
QUICK = TrainSettings(
    preset="nano-segmenter",
    save_every=2,
    log_every=1,
    workers=0,
    phases=(
        PhaseSettings(name="boxes", objective="boxes", trained=PARTS, steps=3, scenes=2, questions=3, learning_rate=1e-3),
        PhaseSettings(name="prompts", objective="prompts", trained=PARTS, steps=3, scenes=2, questions=3, learning_rate=1e-3),
    ),
)


@pytest.fixture(autouse=True)
def _small_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(familiar, "SCENES", 100)


@pytest.fixture(scope="module")
def trainee(tmp_path_factory: pytest.TempPathFactory) -> SegmenterTrainee:
    torch.manual_seed(0)
    return SegmenterTrainee(QUICK, tmp_path_factory.mktemp("run"))


# Samples


@pytest.mark.parametrize("seed", range(6))
def test_prompts_are_true_of_their_masks(trainee: SegmenterTrainee, seed: int) -> None:
    rendered = render(make_scene(seed), 256)
    sample = pointed_sample(trainee.processor, rendered, Random(seed), 9)
    assert sample.masks.shape == (9, 128, 128) and sample.points.shape == (9, POINTS, 2)
    anything = torch.from_numpy(np.any(rendered.masks, axis=0))
    for mask, box, points, labels in zip(sample.masks, sample.boxes, sample.points, sample.labels, strict=True):
        x, y = points[0].tolist()
        assert labels[0] == 1 and mask[int(y), int(x)] > 0
        ys, xs = (mask > 127).nonzero().T
        assert box[0] <= xs.min() + 12 and box[2] >= xs.max() - 12 and box[1] <= ys.min() + 12 and box[3] >= ys.max() - 12
        for (px, py), label in zip(points[1:].tolist(), labels[1:].tolist(), strict=True):
            assert (mask[int(py), int(px)] > 0) or not label
    for x, y in sample.nowhere.tolist():
        assert not anything[int(y * 2), int(x * 2)]


def test_a_sample_is_determined_by_its_index(trainee: SegmenterTrainee) -> None:
    dataset = PointedDataset(trainee.processor, size=4, first=10, prompts=5)
    assert torch.equal(dataset[3].points, dataset[3].points) and len(dataset) == 4
    moved = PointedDataset(trainee.processor, size=4, first=12, prompts=5)
    assert torch.equal(dataset[3].masks, moved[1].masks) and not torch.equal(dataset[0].pixels, dataset[1].pixels)


def test_a_pixel_of_a_mask_lies_on_it() -> None:
    mask = np.zeros((5, 7), bool)
    mask[3, 6] = True
    assert pixel_of(mask, Random(0)) == (6.0, 3.0)


# Loss


def test_overlap_of_masks() -> None:
    one = torch.tensor([[True, True, False, False]])
    assert mask_ious(one[None], one[None]).tolist() == [1.0]
    assert mask_ious(one[None], ~one[None]).tolist() == [0.0]
    assert mask_ious(torch.zeros(1, 1, 4, dtype=torch.bool), torch.zeros(1, 1, 4, dtype=torch.bool)).tolist() == [0.0]


def test_right_masks_with_known_quality_cost_next_to_nothing_and_wrong_ones_much() -> None:
    truth = torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
    truth[0, 0, 2:6, 2:6] = truth[0, 1, :, 4:] = 255

    class Decoder:
        """Gives the masks that it is told, with the score that it is told."""

        def __init__(self, logits: torch.Tensor, score: float) -> None:
            self.pred_masks, self.iou_scores = logits[:, :, None], torch.full((1, logits.shape[1], 1), score)

        def __call__(self, **_: Any) -> "Decoder":
            return self

    right = (truth > 0).float() * 40 - 20
    loss, mean, chosen = decoded_loss(Decoder(right, 1.0), torch.zeros(1), {}, truth, several=False)
    assert loss < 0.05 and mean == 1.0 and torch.equal(chosen, right)
    unsure, _, _ = decoded_loss(Decoder(right, 0.5), torch.zeros(1), {}, truth, several=False)
    assert unsure == pytest.approx(loss.item() + 0.25, abs=1e-4)
    wrong, mean, _ = decoded_loss(Decoder(-right, 0.0), torch.zeros(1), {}, truth, several=False)
    assert wrong > 1.5 and mean == 0.0


def test_a_few_steps_lower_the_loss(trainee: SegmenterTrainee) -> None:
    torch.manual_seed(0)
    dataset = PointedDataset(trainee.processor, size=4, first=0, prompts=4)
    batch = collate_pointed([dataset[i] for i in range(4)])
    optimizer = torch.optim.AdamW(trainee.model.parameters(), 1e-3)
    losses = []
    for _ in range(14):
        loss, _ = trainee.loss(QUICK.phases[0], batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    for _ in range(8):  # every kind of prompt, the second round too
        loss, metrics = prompts_loss(trainee.model, batch)
        assert torch.isfinite(loss) and "box" in metrics


def rows(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "log.csv").open() as file:
        return [(row["phase"], row["step"], row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.sweep
def test_an_interrupted_run_continues_with_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = phases.train(QUICK, tmp_path / "whole", show_progress=False)
    stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        phases.train(QUICK, tmp_path / "cut", show_progress=False)
    again = phases.train(QUICK, tmp_path / "cut", show_progress=False)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert (again / "model.safetensors").read_bytes() == (target / "model.safetensors").read_bytes()
    loaded = TransformersSegmenter.load(again)
    assert loaded.masks(LoadedImage(render(make_scene(0), 128).image, "scene"), [Prompt(points=((5, 5, True),))])


# Measuring


def test_iou_and_means() -> None:
    one, other = np.array([[True, True, False]]), np.array([[False, True, True]])
    assert iou(one, one) == 1 and iou(one, other) == pytest.approx(1 / 3) and iou(one & ~one, one & ~one) == 0
    table = segmentation_scores([MaskResult(BOX, 0.9, 0.0, 0.5), MaskResult(BOX, 0.8, 0.2, 0.7), MaskResult(EVERYTHING, 1.0)])
    assert table[0].name == BOX and table[0].things == 2 and table[0].reached
    assert (table[0].iou, table[0].shuffled, table[0].filled_box) == pytest.approx((0.85, 0.1, 0.6))
    assert (table[1].iou, table[1].shuffled, table[1].goal) == (1.0, None, None)
    assert not replace(table[0], iou=0.84).reached


def test_a_blind_segmenter_scores_nothing(trainee: SegmenterTrainee) -> None:
    class Blind:
        name = "blind"

        def masks(self, image: LoadedImage, prompts: Any, **options: Any) -> list[list[ScoredMask]]:
            return [[ScoredMask(None, 0.0, 0.0)]] * len(prompts)

        def notes(self, image: LoadedImage) -> tuple[str, ...]:
            return ()

    found = [each for scene in evaluate_segmentation(Blind(), lambda image: [], scenes=5) for each in scene]
    table = {row.name: row for row in segmentation_scores(found)}
    assert set(GOALS) == {BOX, POINT} and all(row.iou == 0 for row in table.values()) and EVERYTHING in table
    assert 0.3 < (table[BOX].filled_box or 0) < 0.8
    with pytest.raises(InvalidSetting, match="include training scenes"):
        next(evaluate_segmentation(Blind(), scenes=10, first_seed=999_995))
