"""A benchmark of compositional questions about whole rendered scenes, with exact answers from their truth.

A thing is named by its colour and kind ("red star"), a number by its word, several things by a list with commas, in the order
that was asked for; where there is nothing of the kind, the answer is "none".
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
_AWKWARD = ("scissors", "snowmans", "a hourglass")  # words that no question has; an answer may

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
    """A question about a whole scene. `answer`: "yes", "two", "red star", "red, blue, green", "none"."""

    family: str
    question: str
    answer: str


def make_visual_question(scene: Scene, family: str, rng: Random) -> VisualQuestion | None:
    """One question of a family about the scene, or None where the scene offers none.

    The form is drawn first and then the answer, from those that the scene offers, so that none can be guessed from its
    frequency. Yes or no is asked only where the scene offers both.
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
    """`count` questions of every family, over the scenes of consecutive seeds, at most one of a family per scene.

    Raises InvalidSetting, before the first question or later, where the held-out seeds do not suffice.
    """
    if count < 0:
        raise InvalidSetting(f"count is {count}", do="give 0 or more")
    missing = dict.fromkeys(COMPOSITIONAL, count)
    seed = first_seed
    while any(missing.values()):
        if seed >= TRAINING_SEEDS:
            raise InvalidSetting(f"seed {seed} is one that models are trained on", do=f"stay below {TRAINING_SEEDS}")
        scene = make_scene(seed)
        for family in (each for each in COMPOSITIONAL if missing[each]):
            found = make_visual_question(scene, family, Random(f"{family} {seed}"))
            if found:
                missing[family] -= 1
                yield scene, found
        seed += 1


def same_answer(said: str, truth: str) -> bool:
    """Whether an answer says the truth: lenient in form, strict in content.

    Case, full stops, articles, handles in parentheses, digits, "and" in a list, what follows "yes," or "no,", and the reason
    in "there is none: ..." do not matter.
    """
    wanted, said = _items(truth), _HANDLES.sub(" ", said)
    if wanted in (["yes"], ["no"]):
        return _items(said.partition(",")[0]) == wanted
    if wanted == [NONE]:
        return all(each in _NOTHING for each in _items(said.partition(":")[0]))
    return _items(said) == wanted


def _items(answer: str) -> list[str]:
    """The items of a list, or the one answer, in their plain form."""
    text = _HANDLES.sub(" ", answer.lower()).replace(".", " ")
    items = [_ARTICLES.sub("", " ".join(each.split())) for each in _BETWEEN.split(text.strip())]
    return [_NUMBERS.get(each, each) for each in items]
