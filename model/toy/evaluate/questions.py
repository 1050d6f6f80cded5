"""Evaluate a region model on held-out scenes of the toy world: exact match by family of questions.

Each figure has two baselines: chance (always the most frequent answer of the family), and the same model with the boxes of the
scene shuffled between its things.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from math import ceil
from random import Random

import torch
from torch import Tensor

from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.gpt4roi.modeling import ImageFeatures
from roi_agent.model.protocol.conversation import Turn, mentioned
from roi_agent.model.toy.questions.families import SUPERLATIVES
from roi_agent.model.toy.questions.questions import FAMILY_NAMES, TRAINING_SEEDS, Example, make_example
from roi_agent.model.toy.samples.questions import encode_example, scene_pixels
from roi_agent.model.toy.world.scenes import Scene, make_scene

# The rows of the published table, and the families of questions in each.
GROUPS: dict[str, tuple[str, ...]] = {
    "colour": ("colour",),
    "kind": ("kind",),
    "full name": ("name",),
    "size": ("size",),
    "place in the image": ("place",),
    "is there a ... in it": ("presence",),
    "left / right / above / below": ("relation", "side"),
    "larger / smaller": ("larger", "which_larger"),
    "same colour": ("same_colour",),
    "same kind": ("same_kind",),
    "touching": ("touching",),
    "three or more regions": (*SUPERLATIVES, "which_colour", "which_kind", "which_thing", "count_colour", "count_kind"),
    "what they share": ("shared",),
    "why": ("why",),
    "the last of several turns": ("turns",),
}
GOALS = {
    "colour": 0.98,
    "kind": 0.95,
    "full name": 0.90,
    "left / right / above / below": 0.97,
    "larger / smaller": 0.95,
    "same colour": 0.95,
    "same kind": 0.95,
    "three or more regions": 0.90,
    "why": 0.90,
}
# Superlatives and counts of only two regions would not belong to the row "three or more regions".
_MIN_REGIONS = dict.fromkeys(GROUPS["three or more regions"], 3)
_RENDER_SIDE = 384  # pixels, as in `roi-agent scenes`
_SCENES_PER_BATCH = 16
_NEW_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the table, with shares of exact matches in [0, 1].  goal: minimum of accuracy, or None."""

    name: str
    questions: int
    accuracy: float
    chance: float
    shuffled: float
    goal: float | None

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question about a held-out scene, and the model's answers with right and with shuffled boxes."""

    scene: Scene
    example: Example
    answer: str = ""
    shuffled: str = ""


def evaluate_toy(model: LocalRegionModel, *, questions: int = 500, first_seed: int = 0) -> Iterator[list[AskedQuestion]]:
    """Ask at least `questions` questions for each row, about scenes from `first_seed` on; yields answered batches.

    Error: InvalidSetting if the seeds reach those of training.
    """
    yield from ask_families(model, _questions_per_family(questions), first_seed=first_seed)


def ask_families(model: LocalRegionModel, questions: Mapping[str, int], *, first_seed: int = 0) -> Iterator[list[AskedQuestion]]:
    """As `evaluate_toy`, with a number of questions for each family; each scene gets at most one question of a family."""
    for batch in _batches(dict(questions), first_seed):
        yield answer_questions(model, batch)


def answer_questions(model: LocalRegionModel, batch: Sequence[AskedQuestion]) -> list[AskedQuestion]:
    """Return the questions with the model's answers."""
    right, wrong = _generate_answers(model, batch, shuffled=False), _generate_answers(model, batch, shuffled=True)
    return [replace(each, answer=answer, shuffled=other) for each, answer, other in zip(batch, right, wrong, strict=True)]


def scores(asked: Sequence[AskedQuestion]) -> list[Score]:
    """Return the table, with one row for each group of families."""
    return [_score(name, [each for each in asked if each.example.family in families]) for name, families in GROUPS.items()]


def total_questions(questions: int) -> int:
    """Return the total number of questions that `evaluate_toy` asks for that number in each row."""
    return sum(_questions_per_family(questions).values())


def _questions_per_family(questions: int) -> dict[str, int]:
    """Split the number of each row evenly between its families, rounded up."""
    return {family: ceil(questions / len(families)) for families in GROUPS.values() for family in families}


def _score(name: str, asked: Sequence[AskedQuestion]) -> Score:
    truths = [each.example.turns[-1].answer for each in asked]
    # The chance of a group guesses the most frequent answer of each of its families.
    by_family: dict[str, Counter[str | None]] = {}
    for each in asked:
        by_family.setdefault(each.example.family, Counter())[each.example.turns[-1].answer] += 1
    total = max(len(asked), 1)
    return Score(
        name=name,
        questions=len(asked),
        accuracy=sum(each.answer == truth for each, truth in zip(asked, truths, strict=True)) / total,
        chance=sum(answers.most_common(1)[0][1] for answers in by_family.values()) / total,
        shuffled=sum(each.shuffled == truth for each, truth in zip(asked, truths, strict=True)) / total,
        goal=GOALS.get(name),
    )


def _batches(missing: dict[str, int], first_seed: int) -> Iterator[list[AskedQuestion]]:
    """Yield questions about consecutive scenes, at most one of a family for each, until every family has its number."""
    seeds = count(first_seed)
    while any(missing.values()):
        batch: list[AskedQuestion] = []
        for seed in islice(seeds, _SCENES_PER_BATCH):
            if seed >= TRAINING_SEEDS:
                raise InvalidSetting(
                    f"seed {seed} belongs to training", do=f"start below {TRAINING_SEEDS} and ask fewer questions"
                )
            batch += _draw_questions(make_scene(seed), missing)
        if batch:
            yield batch


def _draw_questions(scene: Scene, missing: dict[str, int]) -> Iterator[AskedQuestion]:
    rng = Random(scene.seed)
    for family in FAMILY_NAMES:
        example = make_example(scene, family, rng) if missing.get(family) else None
        if example and _num_regions(example) >= _MIN_REGIONS.get(family, 1):
            missing[family] -= 1
            yield AskedQuestion(scene, example)


def _num_regions(example: Example) -> int:
    """Return the number of regions that the first question mentions, or else of all given regions."""
    return len(mentioned(example.turns[0].question)) or len(example.regions)


def _generate_answers(model: LocalRegionModel, batch: Sequence[AskedQuestion], *, shuffled: bool) -> list[str]:
    """Return the model's answer to the last turn of each conversation; it also answers the earlier turns."""
    scenes = {asked.scene.seed: asked.scene for asked in batch}
    pixels = torch.stack([scene_pixels(model.processor, scene, _RENDER_SIDE) for scene in scenes.values()])
    boxes = [torch.tensor([thing.box for thing in scene.things]) for scene in scenes.values()]
    if shuffled:
        boxes = [_shuffle_boxes(each, seed) for each, seed in zip(boxes, scenes, strict=True)]
    with torch.inference_mode():
        features = model.model.encode_image(pixels.to(model.model.device))
        vectors = model.model.region_encoder.pool(features.maps, boxes)
    places = {seed: index for index, seed in enumerate(scenes)}
    answers: list[list[str]] = [[] for _ in batch]
    for turn in range(max(len(asked.example.turns) for asked in batch)):
        open_rows = [row for row, asked in enumerate(batch) if turn < len(asked.example.turns)]
        examples = [_open_conversation(batch[row].example, answers[row]) for row in open_rows]
        rows = [places[batch[row].scene.seed] for row in open_rows]
        for row, text in zip(open_rows, _generate(model, examples, rows, features, vectors), strict=True):
            answers[row].append(text)
    return [texts[-1] for texts in answers]


def _open_conversation(example: Example, answers: Sequence[str]) -> Example:
    """Return the conversation with the model's answers so far; its last turn is open."""
    turns = [Turn(turn.question, answer) for turn, answer in zip(example.turns, answers, strict=False)]
    return Example(example.family, (*turns, Turn(example.turns[len(answers)].question)), example.regions)


def _generate(
    model: LocalRegionModel, examples: Sequence[Example], images: list[int], features: ImageFeatures, vectors: list[Tensor]
) -> list[str]:
    """Generate one greedy answer for each conversation.  images: the index of each conversation's image."""
    rows = [encode_example(model.processor, example) for example in examples]
    longest, pad = max(len(row.ids) for row in rows), model.processor.tokenizer.pad_token_id
    device = model.model.device
    ids = torch.tensor([[pad] * (longest - len(row.ids)) + row.ids for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in rows], device=device)
    output = model.model.generate(
        input_ids=ids,
        attention_mask=mask,
        image_features=ImageFeatures(features.tokens[images], []),
        region_vectors=[vectors[image][row.things] for image, row in zip(images, rows, strict=True)],
        max_new_tokens=_NEW_TOKENS,
        do_sample=False,
        pad_token_id=pad,
        **model.processor.stopping(longest),
    )
    return [model.processor.decode_answer(new) for new in output[:, longest:].tolist()]


def _shuffle_boxes(boxes: Tensor, seed: int) -> Tensor:
    """Give every thing the box of another one."""
    order = list(range(len(boxes)))
    Random(seed).shuffle(order)
    moved = torch.empty_like(boxes)
    moved[order] = boxes[order[1:] + order[:1]]
    return moved
