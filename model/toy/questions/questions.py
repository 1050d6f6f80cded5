"""Questions about a scene as short conversations, with exact answers from its ground truth."""

from dataclasses import dataclass
from random import Random

from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.toy.questions.families import ABOUT_ONE, FAMILIES, WITH_REASON, Fact, handle_number
from roi_agent.model.toy.questions.sampler import ALONE, MOST, QuestionSampler
from roi_agent.model.toy.world.scenes import Scene

FAMILY_NAMES = (*FAMILIES, "why", "turns")

_MOST_TURNS = 6
# Mostly questions about one region, as people ask; they also make names from many turns ago reoccur.
_WEIGHTS = [4 if family in ABOUT_ONE else 1 for family in FAMILIES]
_WHY_SHARE = 0.3  # share of answers with a reason that a "why?" follows in a conversation

# Scenes with smaller seeds are held out for evaluation.
TRAINING_SEEDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Example:
    """A short conversation about a scene.  regions: the thing of each handle, as (name, index into scene.things)."""

    family: str
    turns: tuple[Turn, ...]
    regions: tuple[tuple[str, int], ...]


def make_example(scene: Scene, family: str, rng: Random, *, alone: float = ALONE, most: int = MOST) -> Example | None:
    """Return a conversation of a family about the scene, or None if the scene has none.

    `why` asks for the reason of an answer; `turns` asks up to six questions of all families, mostly about one region each.
    alone: share of questions without other given regions.  most: maximum regions in one question.
    """
    sampler = QuestionSampler(scene, rng, keep=family == "turns", alone=alone, most=most)
    if family == "why":
        fact = FAMILIES[rng.choice(WITH_REASON)](sampler)
        turns = [Turn(fact.question, fact.answer), _why_turn(sampler, fact)] if fact else []
    elif family == "turns":
        turns = _several_turns(sampler)
    else:
        fact = FAMILIES[family](sampler)
        turns = [Turn(fact.question, fact.answer)] if fact else []
    if not turns:
        return None
    by_number = sorted(((name, index) for index, name in sampler.handles.items()), key=lambda pair: handle_number(pair[0]))
    return Example(family, tuple(turns), tuple(by_number))


def _several_turns(sampler: QuestionSampler) -> list[Turn]:
    sampler.several(least=1)
    turns: list[Turn] = []
    for family in sampler.rng.choices(list(FAMILIES), _WEIGHTS, k=_MOST_TURNS):
        fact = FAMILIES[family](sampler)
        if fact and all(turn.question != fact.question for turn in turns):
            turns.append(Turn(fact.question, fact.answer))
            if fact.reason and sampler.rng.random() < _WHY_SHARE:
                turns.append(_why_turn(sampler, fact))
    return turns[:_MOST_TURNS]


def _why_turn(sampler: QuestionSampler, fact: Fact) -> Turn:
    return Turn(sampler.question("why", list(sampler.handles)), fact.reason)
