"""A small fine-tuning of nano on records, and how well a model answers one family of questions about held-out scenes."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from random import Random

import torch
from torch import Tensor

from roi_agent.evaluation.generation import Share
from roi_agent.model.answers import Decoding
from roi_agent.model.conversation import Turn
from roi_agent.model.data.questions import TRAINING_SEEDS, Example, make_example
from roi_agent.model.data.record import Record
from roi_agent.model.data.scenes import Scene, make_scene, render_image
from roi_agent.model.data.toy import Row, ToyBatch, ToySample, collate
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.local import LocalRegionModel
from roi_agent.model.processing import GPT4RoIProcessor
from roi_agent.model.regions import Box, Region
from roi_agent.model.train.objectives import freeze_all_but, questions

LEARN = ("language_model",)  # with few images, the region encoder learns those by heart
SIDE = 384
AT_ONCE = 16  # scenes, in judging


def fine_tune(
    model: LocalRegionModel,
    records: Iterable[Record],
    image_of: Callable[[Record], LoadedImage],
    *,
    epochs: int = 1,
    images: int = 8,
    rate: float = 1e-4,
    seed: int = 0,
) -> list[float]:
    """Train on all records, the answers' tokens, batches of so many images; returns the loss of every step."""
    samples = list(_samples(model.processor, records, image_of))
    steps = epochs * math.ceil(len(samples) / images)
    network = model.model
    learning = freeze_all_but(network, LEARN)
    optimizer = torch.optim.AdamW(learning, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses = []
    for batch in _batches(samples, epochs, images, seed, model.processor.tokenizer.pad_token_id):
        loss, _ = questions(network, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    network.eval()
    model.engine.alone(lambda: None)  # forgets images that were encoded before
    return losses


def held_out(model: LocalRegionModel, family: str, number: int, *, first_seed: int, shuffled: bool = False) -> Share:
    """Exact matches of the last answer of so many conversations of a family, each about a scene of its own.

    The model answers all turns itself.  shuffled: every region gets the box of another thing of its scene.
    """
    asked = list(islice(_asked(family, first_seed), number))
    with ThreadPoolExecutor(AT_ONCE) as pool:  # the engine answers together what comes together
        answers = pool.map(lambda pair: _last_answer(model, pair[0], pair[1], shuffled), asked)
        return Share(sum(said == example.turns[-1].answer for said, (_, example) in zip(answers, asked, strict=True)), number)


def chance(family: str, number: int, *, first_seed: int) -> Share:
    """What the family's most frequent answer alone would get right of the same questions."""
    answers = Counter(example.turns[-1].answer for _, example in islice(_asked(family, first_seed), number))
    return Share(answers.most_common(1)[0][1], number)


def _asked(family: str, first_seed: int) -> Iterator[tuple[Scene, Example]]:
    for seed in range(first_seed, TRAINING_SEEDS):
        scene = make_scene(seed)
        if example := make_example(scene, family, Random(seed)):
            yield scene, example


def _last_answer(model: LocalRegionModel, scene: Scene, example: Example, shuffled: bool) -> str:
    image = load_image(render_image(scene, SIDE))
    order = list(range(len(scene.things)))
    moved = order[1:] + order[:1] if shuffled else order
    boxes = [Box(*(min(value, 1.0) * SIDE for value in scene.things[moved[index]].box)) for _, index in example.regions]
    regions = [Region(name, box) for (name, _), box in zip(example.regions, boxes, strict=True)]
    turns: list[Turn] = []
    for turn in example.turns:
        answer = model.reply(image, [*turns, Turn(turn.question)], regions, Decoding(max_new_tokens=32))
        turns.append(Turn(turn.question, answer.text))
    return str(turns[-1].answer)


def _samples(
    processor: GPT4RoIProcessor, records: Iterable[Record], image_of: Callable[[Record], LoadedImage]
) -> Iterator[ToySample]:
    """A sample for each image, with all its conversations."""
    by_image: dict[str, list[Record]] = {}
    for record in records:
        by_image.setdefault(record.image, []).append(record)
    for of_image in by_image.values():
        yield _sample(processor, of_image, processor.pixels([image_of(of_image[0]).pixels])[0])


def _sample(processor: GPT4RoIProcessor, records: Sequence[Record], pixels: Tensor) -> ToySample:
    boxes: list[tuple[float, ...]] = []
    rows = []
    for record in records:
        prompt = processor.render(record.conversation(), record.regions)
        ids, labels = processor.encode(prompt)
        rows.append(Row(ids, labels, list(range(len(boxes), len(boxes) + len(prompt.regions))), "generated"))
        boxes += [region.box.normalised(record.size_wh) for region in prompt.regions]
    nothing = torch.zeros(len(boxes), dtype=torch.long)  # kinds and colours are truth, which nobody knows here
    return ToySample(pixels, torch.tensor(boxes, dtype=torch.float32), nothing, nothing, rows)


def _batches(samples: Sequence[ToySample], epochs: int, images: int, seed: int, pad_id: int) -> Iterator[ToyBatch]:
    rng = Random(seed)
    for _ in range(epochs):
        order = rng.sample(range(len(samples)), len(samples))
        for start in range(0, len(order), images):
            yield collate([samples[index] for index in order[start : start + images]], pad_id=pad_id)


def _rate(step: int, steps: int) -> float:
    """A short warm-up, then half a cosine."""
    warm = max(1, steps // 20)
    return (step + 1) / warm if step < warm else 0.02 + 0.98 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
