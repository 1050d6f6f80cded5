"""Training samples of the detector: a rendered scene and a prompt of phrases, as a function of the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GroundingDinoProcessor

from roi_agent.model.detection.detector import prompt_of, token_spans
from roi_agent.model.toy.questions.phrases import Phrase, make_phrases, vocabulary
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.samples.questions import RENDER_SIDES
from roi_agent.model.toy.world.scenes import Scene, make_scene, render_image


@dataclass(frozen=True, slots=True)
class PromptedSample:
    """One scene and its prompt.

    pixels: (3, S, S) normalised.  ids: T token ids.  boxes: (K, 4) cxcywh in [0, 1], of all things that a phrase describes.
    tokens: (K, T) bool, the tokens of the phrases that describe each thing.
    """

    pixels: Tensor
    ids: list[int]
    boxes: Tensor
    tokens: Tensor


@dataclass(frozen=True, slots=True)
class PromptedBatch:
    """B scenes.  pixels: (B, 3, S, S).  ids, mask: (B, T), padded on the right.  boxes: B x (K_i, 4).  tokens: B x (K_i, T)."""

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    boxes: list[Tensor]
    tokens: list[Tensor]


class PromptedDataset(Dataset[PromptedSample]):
    """Sample i is scene TRAINING_SEEDS + first + i with 1 to `most` phrases, or with the whole vocabulary where `most` is 0."""

    def __init__(self, processor: GroundingDinoProcessor, *, size: int, first: int, most: int) -> None:
        self.processor, self.size, self.first, self.most = processor, size, first, most

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> PromptedSample:
        seed = TRAINING_SEEDS + self.first + index
        rng = Random(seed)
        scene = make_scene(seed)
        phrases = make_phrases(scene, rng, rng.randint(1, self.most)) if self.most else vocabulary(rng)
        return prompted_sample(self.processor, scene, phrases, rng.choice(RENDER_SIDES))


def prompted_sample(processor: GroundingDinoProcessor, scene: Scene, phrases: Sequence[Phrase], side: int) -> PromptedSample:
    """Return the sample of a scene, rendered at `side` pixels, with these phrases as its prompt."""
    texts = [phrase.text for phrase in phrases]
    ids = processor.tokenizer(prompt_of(texts))["input_ids"]
    spans = token_spans(processor.tokenizer, texts)
    described = [phrase.found_in(scene) for phrase in phrases]
    wanted = sorted({thing for things in described for thing in things})
    tokens = torch.zeros(len(wanted), len(ids), dtype=torch.bool)
    for span, things in zip(spans, described, strict=True):
        for thing in things:
            tokens[wanted.index(thing), span] = True
    boxes = torch.tensor([scene.things[thing].box for thing in wanted], dtype=torch.float32).view(-1, 4)
    corners = boxes[:, :2], boxes[:, 2:]
    centred = torch.cat([(corners[0] + corners[1]) / 2, corners[1] - corners[0]], 1)
    return PromptedSample(scene_pixels(processor, scene, side), ids, centred, tokens)


def scene_pixels(processor: GroundingDinoProcessor, scene: Scene, side: int) -> Tensor:
    """Return the detector's input for a scene rendered at `side` pixels: (3, S, S)."""
    image = Image.fromarray(render_image(scene, side))
    pixels: Tensor = processor.image_processor(image, return_tensors="pt")["pixel_values"][0]
    return pixels


def collate_prompted(samples: Sequence[PromptedSample], *, pad_id: int) -> PromptedBatch:
    """Combine samples into a batch; prompts are padded to the longest."""
    length = max(len(sample.ids) for sample in samples)
    ids = torch.full((len(samples), length), pad_id)
    mask = torch.zeros_like(ids)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        mask[row, : len(sample.ids)] = 1
    return PromptedBatch(
        pixels=torch.stack([sample.pixels for sample in samples]),
        ids=ids,
        mask=mask,
        boxes=[sample.boxes for sample in samples],
        tokens=[torch.nn.functional.pad(sample.tokens, (0, length - sample.tokens.shape[1])) for sample in samples],
    )
