"""Scenes as VCR: a question about two or more things, four answers, and four reasons for the right one.

Questions, answers and reasons come from the families of the toy world. A wrong answer is another thing of the scene, another side
or another number; a wrong reason is the right one with other things.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from random import Random
from typing import Any

from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.toy.layouts.files import IMAGES, render_images, split_seeds, write_json, write_lines
from roi_agent.model.toy.questions.families import COUNTS, FAMILIES, SUPERLATIVES
from roi_agent.model.toy.questions.sampler import QuestionSampler
from roi_agent.model.toy.world.scenes import Scene

Words = list[str | list[int]]  # a text of VCR: words, and lists of indices of things

# Families with a reason and many answers. None asks for a kind, because VCR names the class of every region.
QUESTION_FAMILIES = ("which_larger", "side", *SUPERLATIVES, "count_colour")
MOST = 2  # questions about one scene
_CHOICES = 4
_TRIES = 12
_SIDES = ("left", "right", "above", "below")
_WORD = re.compile(r"<?(region\d+)>?|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One question; a label is the index of the right choice."""

    family: str
    question: Words
    answers: list[Words]
    answer_label: int
    reasons: list[Words]
    reason_label: int


def write_vcr(folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `train.jsonl`, `val.jsonl`, and `images/`, with the metadata beside each image."""
    for split, chosen in split_seeds(seeds).items():
        names = {seed: f"toy_{split}/scene_{seed:07d}@0.jpg" for seed in chosen}
        lines: list[dict[str, Any]] = []
        for rendered in render_images(folder, names, side):
            scene, name = rendered.scene, names[rendered.scene.seed].removesuffix(".jpg")
            for number, problem in enumerate(make_problems(scene, Random(f"vcr {scene.seed}"))):
                lines.append(_line(problem, scene, name, f"{split}-{len(lines)}", number))
            kinds = [thing.kind for thing in scene.things]
            metadata = {"boxes": [[*box, 1.0] for box in rendered.boxes.tolist()], "segms": [[] for _ in kinds], "names": kinds}
            write_json(folder / IMAGES / f"{name}.json", metadata | {"width": side, "height": side})
        write_lines(folder / f"{split}.jsonl", map(json.dumps, lines))


def make_problems(scene: Scene, rng: Random) -> list[Problem]:
    """Return up to MOST problems of different families."""
    problems: dict[str, Problem] = {}
    for family in rng.choices(QUESTION_FAMILIES, k=_TRIES):
        problem = make_problem(scene, family, rng) if len(problems) < MOST and family not in problems else None
        if problem:
            problems[family] = problem
    return list(problems.values())


def make_problem(scene: Scene, family: str, rng: Random) -> Problem | None:
    """Return one problem of a family, or None if the scene has none with four answers and four reasons."""
    sampler = QuestionSampler(scene, rng, alone=1)
    fact = FAMILIES[family](sampler)
    if fact is None or len(mentioned(fact.question)) < 2:
        return None
    things = {name: index for index, name in sampler.handles.items()}
    answer, reason = _words(fact.answer, things), _words(fact.reason, things)
    several = family == "count_colour"
    wrong_answers = _wrong_answers(answer, list(things.values()), len(scene.things), rng)
    wrong_reasons = _wrong_reasons(reason, len(scene.things), rng, in_order=not several)
    if min(len(wrong_answers), len(wrong_reasons)) < _CHOICES - 1:
        return None
    answers, answer_label = _insert_right(answer, wrong_answers, rng)
    reasons, reason_label = _insert_right(_sorted(reason) if several else reason, wrong_reasons, rng)
    return Problem(family, _words(fact.question, things), answers, answer_label, reasons, reason_label)


def _words(text: str, things: dict[str, int]) -> Words:
    """Split a text into words; the name of a region becomes the index of its thing."""
    return [[things[match[1]]] if match[1] else match[0] for match in _WORD.finditer(text)]


def _wrong_answers(answer: Words, asked: Sequence[int], num_things: int, rng: Random) -> list[Words]:
    """Return wrong answers, plausible ones first: other things in the question, then the rest of the scene."""
    word = answer[0]
    if isinstance(word, list):
        rest = [index for index in range(num_things) if index not in asked]
        order = rng.sample(asked, len(asked)) + rng.sample(rest, len(rest))
        return [[[index]] for index in order if index != word[0]]
    values = _SIDES if word in _SIDES else COUNTS[: len(asked) + 2]
    return [[value] for value in rng.sample(values, len(values)) if value != word]


def _wrong_reasons(reason: Words, num_things: int, rng: Random, *, in_order: bool) -> list[Words]:
    """Return the reason with other things; in a comparison, the same two things in reverse order come first."""
    mentioned_things = [word[0] for word in reason if isinstance(word, list)]
    if not mentioned_things:  # none of them is ...
        return [[[index], *reason[3:]] for index in rng.sample(range(num_things), num_things)]
    draws = list((permutations if in_order else combinations)(range(num_things), len(mentioned_things)))
    rng.shuffle(draws)
    wrong = [draw for draw in draws if list(draw) != (mentioned_things if in_order else sorted(mentioned_things))]
    wrong.sort(key=lambda draw: not (in_order and list(draw) == mentioned_things[::-1]))
    return [_with_things(reason, draw) for draw in wrong]


def _with_things(reason: Words, things: Sequence[int]) -> Words:
    waiting = iter(things)
    return [[next(waiting)] if isinstance(word, list) else word for word in reason]


def _sorted(reason: Words) -> Words:
    """Return the reason with its things in ascending order, as in the wrong ones, so that the order reveals nothing."""
    return _with_things(reason, sorted(word[0] for word in reason if isinstance(word, list)))


def _insert_right(right: Words, wrong: Sequence[Words], rng: Random) -> tuple[list[Words], int]:
    label = rng.randrange(_CHOICES)
    choices = list(wrong[: _CHOICES - 1])
    return [*choices[:label], right, *choices[label:]], label


def _line(problem: Problem, scene: Scene, name: str, identity: str, number: int) -> dict[str, Any]:
    return {
        "movie": "toy",
        "objects": [thing.kind for thing in scene.things],
        "img_fn": f"{name}.jpg",
        "metadata_fn": f"{name}.json",
        "question": problem.question,
        "answer_choices": problem.answers,
        "answer_label": problem.answer_label,
        "rationale_choices": problem.reasons,
        "rationale_label": problem.reason_label,
        "img_id": name,
        "question_number": number,
        "annot_id": identity,
    }
