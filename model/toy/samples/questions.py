"""Training samples of the region model: a rendered scene and its questions, as a function of the index.

A resumed run therefore sees exactly the same samples as an uninterrupted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor
from roi_agent.model.toy.questions.questions import FAMILY_NAMES, TRAINING_SEEDS, Example, make_example
from roi_agent.model.toy.questions.sampler import ALONE, MOST
from roi_agent.model.toy.world.art import COLOURS, KINDS
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene, render_image

RENDER_SIDES = (128, 128, 192, 256, 384)  # pixels; the model learns to ignore how an image was scaled
_TRIES = 20  # draws for each question, because not every scene has questions of every family
_JITTER = 0.03  # of a box's side, because boxes of detectors and people are not tight


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation.  ids, labels: (T).  things: the index of the thing of each region token, in order."""

    ids: list[int]
    labels: list[int]
    things: list[int]
    family: str


@dataclass(frozen=True, slots=True)
class ToySample:
    """One scene.  pixels: (3, S, S) normalised, or None.  boxes: (K, 4) xyxy in [0, 1].  kinds, colours: (K) indices."""

    pixels: Tensor | None
    boxes: Tensor
    kinds: Tensor
    colours: Tensor
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class ToyBatch:
    """B scenes with K things in all, and R conversations about them.

    pixels: (B, 3, S, S) or None.  boxes: (K, 4), box_images: (K), the scene of each box.  kinds, colours: (K).
    ids, labels, mask: (R, T), padded on the right.  row_images: (R), the scene of each conversation.
    row_things: R lists of indices into K.
    """

    pixels: Tensor | None
    boxes: Tensor
    box_images: Tensor
    kinds: Tensor
    colours: Tensor
    ids: Tensor
    labels: Tensor
    mask: Tensor
    row_images: Tensor
    row_things: list[list[int]]
    families: list[str]


class ToyDataset(Dataset[ToySample]):
    """Sample i is scene TRAINING_SEEDS + first + i with up to `questions` conversations about it.

    weights: of the families, 1 by default.  pixels: whether to render scenes.  alone, most: as in `QuestionSampler`.
    """

    def __init__(
        self,
        processor: GPT4RoIProcessor,
        *,
        size: int,
        first: int,
        questions: int,
        weights: dict[str, float],
        pixels: bool,
        alone: float = ALONE,
        most: int = MOST,
    ) -> None:
        self.processor, self.size, self.first, self.questions, self.pixels = processor, size, first, questions, pixels
        self.alone, self.most = alone, most
        self.families = list(FAMILY_NAMES)
        self.weights = [weights.get(family, 1.0) for family in self.families]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> ToySample:
        seed = TRAINING_SEEDS + self.first + index
        rng = Random(seed)
        scene = make_scene(seed)
        rows: list[Row] = []
        for family in rng.choices(self.families, self.weights, k=_TRIES * self.questions):
            example = make_example(scene, family, rng, alone=self.alone, most=self.most) if len(rows) < self.questions else None
            if example:
                rows.append(encode_example(self.processor, example, with_image=self.pixels))
        pixels = scene_pixels(self.processor, scene, rng.choice(RENDER_SIDES)) if self.pixels else None
        boxes = [_jittered(thing, rng) for thing in scene.things]
        return to_sample(scene, boxes, rows, pixels)


def to_sample(scene: Scene, boxes: Sequence[tuple[float, ...]], rows: list[Row], pixels: Tensor | None) -> ToySample:
    """Return the sample of a scene with these boxes: K x 4, xyxy in [0, 1]."""
    kinds = torch.tensor([KINDS.index(thing.kind) for thing in scene.things])
    colours = torch.tensor([list(COLOURS).index(thing.colour) for thing in scene.things])
    return ToySample(pixels, torch.tensor(boxes, dtype=torch.float32), kinds, colours, rows)


def encode_example(processor: GPT4RoIProcessor, example: Example, *, with_image: bool = True) -> Row:
    """Tokenize one conversation, with or without the image tokens."""
    things = dict(example.regions)
    unit = Box(0, 0, 1, 1)
    prompt = processor.render(example.turns, [Region(name, unit) for name in things])
    ids, labels = processor.encode(prompt)
    if not with_image:
        image_token = processor.tokenizer.convert_tokens_to_ids("<im_patch>")
        kept = [position for position, token in enumerate(ids) if token != image_token]
        ids, labels = [ids[position] for position in kept], [labels[position] for position in kept]
    return Row(ids, labels, [things[region.name] for region in prompt.regions], example.family)


def scene_pixels(processor: GPT4RoIProcessor, scene: Scene, side: int) -> Tensor:
    """Return the region model's input for a scene rendered at `side` pixels: (3, S, S)."""
    return processor.pixels([Image.fromarray(render_image(scene, side))])[0]


def collate(samples: Sequence[ToySample], *, pad_id: int) -> ToyBatch:
    """Combine samples into a batch; conversations are padded to the longest."""
    rows = [(image, row) for image, sample in enumerate(samples) for row in sample.rows]
    counts = [len(sample.boxes) for sample in samples]
    starts = np.cumsum([0, *counts[:-1]]).tolist()
    length = max((len(row.ids) for _, row in rows), default=0)
    ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORE)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for position, (_, row) in enumerate(rows):
        ids[position, : len(row.ids)] = torch.tensor(row.ids)
        labels[position, : len(row.ids)] = torch.tensor(row.labels)
        mask[position, : len(row.ids)] = 1
    pixels = [sample.pixels for sample in samples if sample.pixels is not None]
    return ToyBatch(
        pixels=torch.stack(pixels) if pixels else None,
        boxes=torch.cat([sample.boxes for sample in samples]),
        box_images=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
        kinds=torch.cat([sample.kinds for sample in samples]),
        colours=torch.cat([sample.colours for sample in samples]),
        ids=ids,
        labels=labels,
        mask=mask,
        row_images=torch.tensor([image for image, _ in rows], dtype=torch.long),
        row_things=[[starts[image] + thing for thing in row.things] for image, row in rows],
        families=[row.family for _, row in rows],
    )


def _jittered(thing: Thing, rng: Random) -> tuple[float, ...]:
    x1, y1, x2, y2 = thing.box
    shift_x, shift_y = (x2 - x1) * _JITTER, (y2 - y1) * _JITTER
    moved = (
        value + rng.uniform(-shift, shift) for value, shift in zip(thing.box, (shift_x, shift_y, shift_x, shift_y), strict=True)
    )
    return tuple(min(max(value, 0.0), 1.0) for value in moved)
