"""A benchmark of compositional questions about whole scenes, with exact answers from their ground truth.

Answers name a thing by colour and kind ("red star"), a number by its word, and several things as a list with commas in the order
asked for. If there is no such thing, the answer is "none".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.compositional_families import FAMILIES
from roi_agent.model.toy.questions.compositional_terms import NONE, SceneSampler
from roi_agent.model.toy.questions.families import COUNTS, Fact
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.scenes import Scene, make_scene

COMPOSITIONAL: tuple[str, ...] = tuple(FAMILIES)

_TRIES = 40  # draws of a form in one scene
_AWKWARD = ("scissors", "snowmans", "a hourglass")  # excluded from questions, but not from answers

_HANDLES = re.compile(r"\(\s*<?region\d+>?(?:\s*(?:,|\band\b|,\s*and\b)\s*<?region\d+>?)*\s*\)")
_BETWEEN = re.compile(r"\s*,\s*and\s+|\s*,\s*|\s+and\s+")
_ARTICLES = re.compile(r"^(?:(?:a|an|the)\s+)+|(?:\s+(?:a|an|the))+$")
_NOTHING = {
    NONE,
    "no",
    "zero",
    "nothing",
    "there is none",
    "there are none",
    "there is nothing",
    "none of them",
    "none of these",
    "no such thing",
    "there is no such thing",
}
_NUMBERS = {str(number): word for number, word in enumerate(COUNTS)}


@dataclass(frozen=True, slots=True)
class VisualQuestion:
    """A question about a whole scene.  answer: such as "yes", "two", "red star", "red, blue, green", "none"."""

    family: str
    question: str
    answer: str


def make_visual_question(scene: Scene, family: str, rng: Random) -> VisualQuestion | None:
    """Return one question of a family about the scene, or None if the scene has none.  Error: InvalidSetting.

    The form is drawn first, then the answer, from those possible in the scene, so that answers cannot be guessed by frequency.
    Yes-or-no questions are asked only if both answers are possible.
    """
    if family not in FAMILIES:
        raise InvalidSetting(f"there is no family {family!r}", do=f"give one of {', '.join(COMPOSITIONAL)}")
    sampler, form = SceneSampler(scene, rng), rng.choice(FAMILIES[family])
    offered: dict[str, Fact] = {}
    for _ in range(_TRIES):
        fact = form(sampler)
        if fact and not any(word in fact.question for word in _AWKWARD):
            offered.setdefault(fact.answer, fact)
        if {"yes", "no"} <= offered.keys():
            break
    if not offered or offered.keys() in ({"yes"}, {"no"}):
        return None
    chosen = offered[rng.choice(list(offered))]
    return VisualQuestion(family, chosen.question, chosen.answer)


def visual_questions(count: int, *, first_seed: int = 0) -> Iterator[tuple[Scene, VisualQuestion]]:
    """Yield `count` questions of every family, about scenes of consecutive seeds, at most one of a family per scene.

    Error: InvalidSetting, possibly after some questions, if there are not enough held-out seeds.
    """
    if count < 0:
        raise InvalidSetting(f"count is {count}", do="give 0 or more")
    missing = dict.fromkeys(COMPOSITIONAL, count)
    seed = first_seed
    while any(missing.values()):
        if seed >= TRAINING_SEEDS:
            raise InvalidSetting(f"seed {seed} belongs to training", do=f"start below {TRAINING_SEEDS} and ask fewer questions")
        scene = make_scene(seed)
        for family in (each for each in COMPOSITIONAL if missing[each]):
            found = make_visual_question(scene, family, Random(f"{family} {seed}"))
            if found:
                missing[family] -= 1
                yield scene, found
        seed += 1


def same_answer(answer: str, truth: str) -> bool:
    """Whether an answer matches the truth: lenient in form, strict in content.

    Ignores case, full stops, articles, handles in parentheses, "and" in a list, the text after "yes," or "no,", and the reason in
    "there is none: ..."; digits equal number words.
    """
    expected, answer = _items(truth), _HANDLES.sub(" ", answer)
    if expected in (["yes"], ["no"]):
        return _items(answer.partition(",")[0]) == expected
    if expected == [NONE]:
        return all(each in _NOTHING for each in _items(answer.partition(":")[0]))
    return _items(answer) == expected


def _items(answer: str) -> list[str]:
    """Split an answer into list items and normalise them."""
    text = _HANDLES.sub(" ", answer.lower()).replace(".", " ")
    items = [_ARTICLES.sub("", " ".join(each.split())) for each in _BETWEEN.split(text.strip())]
    return [_NUMBERS.get(each, each) for each in items]
