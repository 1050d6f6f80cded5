"""Questions about a rendered scene as short conversations with exact answers, from its truth."""

from dataclasses import dataclass
from random import Random

from roi_agent.model.conversation import Turn
from roi_agent.model.data.families import FAMILIES, WITH_REASON, Scenery, handle_number
from roi_agent.model.data.scenes import Scene

FAMILY_NAMES = (*FAMILIES, "why", "turns")

# What a conversation of many turns asks about its regions, and how often.
_MOST_TURNS = 6
_TURN_WEIGHTS = {"superlative": 6, "which_one": 4, "count": 3, "which_larger": 1, "relation": 1, "presence": 1, "same_kind": 1}

# Scenes with smaller seeds are held out: models are judged on them and never trained on them.
TRAINING_SEEDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Example:
    """A short conversation about a scene. regions: the thing behind each handle, as (name, index into scene.things)."""

    family: str
    turns: tuple[Turn, ...]
    regions: tuple[tuple[str, int], ...]


def make_example(scene: Scene, family: str, rng: Random) -> Example | None:
    """One conversation of a family about the scene, or None where the scene offers none.

    `why` asks for the reason of an answer; `turns` asks up to six questions about the same two to five regions.
    """
    scenery = Scenery(scene, rng, keep=family == "turns")
    if family == "why":
        fact = FAMILIES[rng.choice(WITH_REASON)](scenery)
        turns = [Turn(fact.question, fact.answer), Turn(scenery.say("why", list(scenery.handles)), fact.reason)] if fact else []
    elif family == "turns":
        turns = _several_turns(scenery)
    else:
        fact = FAMILIES[family](scenery)
        turns = [Turn(fact.question, fact.answer)] if fact else []
    if not turns:
        return None
    by_number = sorted(((name, index) for index, name in scenery.handles.items()), key=lambda pair: handle_number(pair[0]))
    return Example(family, tuple(turns), tuple(by_number))


def _several_turns(scenery: Scenery) -> list[Turn]:
    scenery.several()
    turns: dict[str, str] = {}
    for family in scenery.rng.choices(list(_TURN_WEIGHTS), list(_TURN_WEIGHTS.values()), k=_MOST_TURNS):
        if fact := FAMILIES[family](scenery):
            turns.setdefault(fact.question, fact.answer)
    return [Turn(question, answer) for question, answer in turns.items()]
