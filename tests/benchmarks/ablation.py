"""A fair comparison of options: the same weights at the start, scenes, questions, order and steps; only the option differs."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS, Example
from roi_agent.model.toy.samples.questions import collate, encode_example, to_sample
from roi_agent.model.toy.train.objectives import answer_loss
from roi_agent.model.train.parameters import freeze_all_but
from tests.benchmarks.ablation_scenes import FAMILIES, SCENES, Picture, picture_of, questions_of, regions_of

NANO = Path(__file__).parents[2] / "model" / "nano"
LEARNS = ("language_model", "projector", "region_encoder")  # as in the paper's second stage
BATCH, QUESTIONS = 4, 8
PEAK, WARM = 4e-4, 0.05  # learning rate, and the share of the steps in which it rises
GATE = 50  # times that rate: in so few steps a gate that starts at zero would stay all but closed
JUDGED = 500  # questions, of all families together


@dataclass
class Variant:
    """Nano under one option.  answers: to the judged questions, and with boxes shuffled; `untrained`: before training."""

    name: str
    options: dict[str, Any]
    untrained: list[bool] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    shuffled: list[bool] = field(default_factory=list)
    model: GPT4RoIForConditionalGeneration = field(init=False)
    processor: GPT4RoIProcessor = field(init=False)

    def __post_init__(self) -> None:
        self.model, self.processor = load_adapted(NANO, **self.options)


@dataclass(frozen=True, slots=True)
class Asked:
    """A held-out question."""

    picture: Picture
    example: Example

    @property
    def truth(self) -> str:
        return str(self.example.turns[-1].answer)


def compare(scenes: str, variants: Sequence[Variant], *, steps: int, judged: int = JUDGED) -> list[Asked]:
    """Judge, train and judge again all variants on scenes of one kind; they learn side by side from the same batches."""
    asked = held_out(scenes, judged)
    for variant in variants:
        variant.untrained = answered(variant, asked)
    train(scenes, variants, steps)
    for variant in variants:
        variant.model.eval()
        variant.right = answered(variant, asked)
        variant.shuffled = answered(variant, asked, shuffled=True)
    return asked


def held_out(scenes: str, judged: int) -> list[Asked]:
    """Questions about scenes with seeds from 0 on."""
    families, asked = cycle(FAMILIES), list[Asked]()
    for seed in range(TRAINING_SEEDS):
        picture = picture_of(SCENES[scenes](seed))
        asked += [Asked(picture, example) for example in questions_of(picture.scene, families, len(FAMILIES))]
        if len(asked) >= judged:
            break
    return asked[:judged]


def train(scenes: str, variants: Sequence[Variant], steps: int) -> None:
    """The paper's loss on answers; scenes have seeds from TRAINING_SEEDS on."""
    families = cycle(FAMILIES)
    learning = [freeze_all_but(variant.model, LEARNS) for variant in variants]
    optimizers = [_optimizer(variant.model) for variant in variants]
    for step in range(steps):
        seeds = range(TRAINING_SEEDS + step * BATCH, TRAINING_SEEDS + (step + 1) * BATCH)
        pictures = [picture_of(SCENES[scenes](seed)) for seed in seeds]
        examples = [questions_of(picture.scene, families, QUESTIONS) for picture in pictures]
        said = []
        for variant, parameters, optimizer in zip(variants, learning, optimizers, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * _rate(step, steps)
            loss, figures = _loss(variant, pictures, examples)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            said.append(f"{variant.name} {loss.item():.3f} {figures['exact']:.2f}")
        if step % 20 == 0:
            print(f"{scenes} {step}: {'; '.join(said)}", flush=True)


def answered(variant: Variant, asked: Sequence[Asked], *, shuffled: bool = False) -> list[bool]:
    """Whether each greedy answer is the truth, read by the engine as for any user."""
    local = LocalRegionModel(variant.model, variant.processor)
    together = defaultdict(list)
    for index, each in enumerate(asked):
        together[each.picture.scene.seed].append(index)
    right = [False] * len(asked)

    def ask(indices: list[int]) -> None:
        questions = [
            (
                [Turn(asked[index].example.turns[0].question)],
                regions_of(asked[index].picture, asked[index].example, shuffled=shuffled),
            )
            for index in indices
        ]
        answers = local.reply_all(asked[indices[0]].picture.image, questions, Decoding())
        for index, answer in zip(indices, answers, strict=True):
            right[index] = answer.text == asked[index].truth

    with ThreadPoolExecutor(8) as pool:  # questions about several pictures are answered together
        list(pool.map(ask, together.values()))
    local.engine.stop()
    return right


def chance(asked: Sequence[Asked]) -> float:
    """The share that is right for who always gives the most frequent answer of a family."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for each in asked:
        answers[each.example.family][each.truth] += 1
    return sum(counts.most_common(1)[0][1] for counts in answers.values()) / len(asked)


def difference(one: Sequence[bool], other: Sequence[bool]) -> tuple[float, float]:
    """How much larger the share of the second is on the same questions, and half the width of its 95 % interval."""
    gains = torch.tensor(other).double() - torch.tensor(one).double()
    return gains.mean().item(), 1.96 * gains.std().item() / math.sqrt(len(gains))


def _loss(
    variant: Variant, pictures: Sequence[Picture], examples: Sequence[Sequence[Example]]
) -> tuple[Tensor, dict[str, float]]:
    model, processor = variant.model, variant.processor
    pointed = [processor.region_inputs(picture.regions, picture.image) for picture in pictures]
    pixels = processor.pixels([picture.image.pixels for picture in pictures])
    samples = [
        to_sample(picture.scene, each.boxes.tolist(), [encode_example(processor, example) for example in some], image)
        for picture, each, some, image in zip(pictures, pointed, examples, pixels, strict=True)
    ]
    batch = collate(samples, pad_id=processor.tokenizer.pad_token_id)
    image = model.encode_image(pixels)
    vectors = model.region_vectors(image.maps, pointed)
    return answer_loss(model, batch, image.tokens[batch.row_images], torch.cat(vectors))


def _optimizer(model: GPT4RoIForConditionalGeneration) -> torch.optim.Optimizer:
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    gate = [named.pop(name) for name in list(named) if name.endswith("focal_gate")]
    groups: list[dict[str, Any]] = [{"params": list(named.values()), "share": 1.0, "weight_decay": 0.01}]
    groups += [{"params": gate, "share": float(GATE), "weight_decay": 0.0}] if gate else []
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98))


def _rate(step: int, steps: int) -> float:
    """Linear up, then half a cosine down to nothing."""
    warm = max(1, round(steps * WARM))
    if step < warm:
        return PEAK * (step + 1) / warm
    return PEAK * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
