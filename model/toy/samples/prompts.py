"""Training samples of the segmenter: a rendered scene and boxes and points for its things, as a function of the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from transformers import SamProcessor

from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.samples.questions import RENDER_SIDES
from roi_agent.model.toy.world.scenes import RenderedScene, make_scene, render

POINTS = 4  # of each prompt: the first one on the thing, the others on it or beside it
NOWHERE = 2  # background points of each scene
_JITTERS = (0.0, 0.03, 0.03, 0.08)  # of a box's sides, because boxes of detectors and people are not tight
_ON_IT = 0.5  # share of the further points that lie on the thing

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PointedSample:
    """One scene and P prompts for its things, in pixels of the model's S x S input.

    pixels: (3, S, S) normalised.  masks: (P, S, S) uint8, the visible share of the thing in each pixel, 0 to 255.
    boxes: (P, 4) xyxy.  points: (P, POINTS, 2), labels: (P, POINTS), 1 on the thing and 0 beside it.
    nowhere: (NOWHERE, 2), points on the background.
    """

    pixels: Tensor
    masks: Tensor
    boxes: Tensor
    points: Tensor
    labels: Tensor
    nowhere: Tensor


@dataclass(frozen=True, slots=True)
class PointedBatch:
    """B scenes: the fields of `PointedSample`, stacked."""

    pixels: Tensor
    masks: Tensor
    boxes: Tensor
    points: Tensor
    labels: Tensor
    nowhere: Tensor


class PointedDataset(Dataset[PointedSample]):
    """Sample i is scene TRAINING_SEEDS + first + i with `prompts` prompts, distributed evenly over its things."""

    def __init__(self, processor: SamProcessor, *, size: int, first: int, prompts: int) -> None:
        self.processor, self.size, self.first, self.prompts = processor, size, first, prompts

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> PointedSample:
        seed = TRAINING_SEEDS + self.first + index
        rng = Random(seed)
        return pointed_sample(self.processor, render(make_scene(seed), rng.choice(RENDER_SIDES)), rng, self.prompts)


def pointed_sample(processor: SamProcessor, rendered: RenderedScene, rng: Random, prompts: int) -> PointedSample:
    """Return the sample of a rendered scene, with boxes and points for its things in random order."""
    read = processor(images=rendered.image, return_tensors="pt")
    side, frame = rendered.image.width, read["pixel_values"].shape[-1]
    order = list(range(len(rendered.masks)))
    rng.shuffle(order)
    chosen = [order[number % len(order)] for number in range(prompts)]
    drawn = [_points(rendered.masks, thing, rng) for thing in chosen]
    background: Bools = ~np.any(rendered.masks, axis=0)
    coverage = interpolate(torch.from_numpy(rendered.masks).float()[None], (frame, frame), mode="area")[0]
    scale = frame / side
    return PointedSample(
        pixels=read["pixel_values"][0],
        masks=(coverage * 255).round().to(torch.uint8)[chosen],
        boxes=torch.tensor([_box(rendered.boxes[thing], side, rng) for thing in chosen]) * scale,
        points=torch.tensor([[place for place, _ in points] for points in drawn]) * scale,
        labels=torch.tensor([[int(on_it) for _, on_it in points] for points in drawn]),
        nowhere=torch.tensor([pixel_of(background, rng) for _ in range(NOWHERE)]) * scale,
    )


def collate_pointed(samples: Sequence[PointedSample]) -> PointedBatch:
    """Combine samples into a batch."""
    names = PointedBatch.__slots__
    return PointedBatch(**{name: torch.stack([getattr(sample, name) for sample in samples]) for name in names})


def pixel_of(mask: Bools, rng: Random) -> tuple[float, float]:
    """Draw a pixel of a non-empty mask (H, W), as (x, y)."""
    places = np.flatnonzero(mask)
    row, column = divmod(int(places[rng.randrange(len(places))]), mask.shape[1])
    return float(column), float(row)


def _points(masks: Bools, thing: int, rng: Random) -> list[tuple[tuple[float, float], bool]]:
    points = [(pixel_of(masks[thing], rng), True)]
    others = masks.any(0) & ~masks[thing]
    while len(points) < POINTS:
        if rng.random() < _ON_IT:
            points.append((pixel_of(masks[thing], rng), True))
        else:
            beside = others if others.any() and rng.random() < 0.5 else ~masks[thing]
            points.append((pixel_of(beside, rng), False))
    return points


def _box(box: NDArray[np.float64], side: int, rng: Random) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    jitter = rng.choice(_JITTERS)
    moved = (
        value + rng.uniform(-jitter, jitter) * length
        for value, length in zip((x1, y1, x2, y2), (x2 - x1, y2 - y1, x2 - x1, y2 - y1), strict=True)
    )
    return [min(max(value, 0.0), float(side)) for value in moved]
