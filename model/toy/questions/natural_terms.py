"""The parts of natural questions: names of things, what lies between two of them, and the forms of true answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from roi_agent.model.data.english import plural, with_article
from roi_agent.model.toy.world.art import KINDS
from roi_agent.model.toy.world.relations import centre
from roi_agent.model.toy.world.scenes import Thing

Things = Sequence[Thing]

_AWKWARD = ("scissors", "snowman", "hourglass", "fish")  # their plural or article would make another question of it
NAMES = tuple(kind for kind in KINDS if kind not in _AWKWARD)
_WITHIN, _WITHOUT = 0.10, 0.22  # distance from the line between two things, of what is plainly between them and what is not


@dataclass(frozen=True, slots=True)
class Drawn:
    """The slots of a wording, what the answer consists of, and its true values."""

    slots: dict[str, str]
    reply: str
    truth: tuple[str, ...]


def kinds_of(things: Things) -> list[str]:
    return [thing.kind for thing in things]


def alone(things: Things, rng: Random, count: int) -> list[Thing] | None:
    """So many things, each the only one of its kind."""
    kinds = kinds_of(things)
    alone = [thing for thing in things if kinds.count(thing.kind) == 1 and thing.kind in NAMES]
    return rng.sample(alone, count) if len(alone) >= count else None


def a_name(things: Things, rng: Random, *, there: bool) -> str:
    """A kind that is in the scene, or one that is not; of those with a plain name."""
    kinds = kinds_of(things)
    return rng.choice([kind for kind in NAMES if (kind in kinds) is there] or list(NAMES))


def lies_between(thing: Thing, one: Thing, other: Thing) -> bool | None:
    """Whether its centre is near the line between the two centres, and off their ends; None where that is not plain."""
    (x1, y1), (x2, y2), (x, y) = centre(one), centre(other), centre(thing)
    dx, dy = x2 - x1, y2 - y1
    length = (dx * dx + dy * dy) ** 0.5
    along, across = ((x - x1) * dx + (y - y1) * dy) / length**2, abs((x - x1) * dy - (y - y1) * dx) / length
    if 0.25 <= along <= 0.75 and across <= _WITHIN:
        return True
    return False if along <= 0 or along >= 1 or across >= _WITHOUT else None


def name_slots(kind: str) -> dict[str, str]:
    return {"kind": kind, "kinds": plural(kind), "a_kind": with_article(kind)}


def two_name_slots(one: str, other: str) -> dict[str, str]:
    return {**name_slots(one), "another": with_article(other), "others": plural(other)}


def pair_slots(one: Thing, other: Thing) -> dict[str, str]:
    return {"a": one.kind, "b": other.kind}


def number_reply(slots: dict[str, str], count: int) -> Drawn:
    return Drawn(slots, "number", (str(count),))


def yes_no_reply(slots: dict[str, str], yes: bool) -> Drawn:
    return Drawn(slots, "yes_no", ("yes" if yes else "no",))


def thing_reply(slots: dict[str, str], thing: Thing) -> Drawn:
    return Drawn(slots, "thing", (thing.colour, thing.kind))
