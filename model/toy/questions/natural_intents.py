"""What natural questions ask for: each intent takes its slots and the true answer from scenes in which the answer is plain.

Positions and distances are in parts of the image's side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from roi_agent.model.data.english import plural, with_article
from roi_agent.model.toy.questions.compositional_terms import holds, in_relation, nearest, ranked
from roi_agent.model.toy.world.art import COLOURS, KINDS
from roi_agent.model.toy.world.relations import centre, place
from roi_agent.model.toy.world.scenes import Scene, Thing

_AWKWARD = ("scissors", "snowman", "hourglass", "fish")  # their plural or article would make another question of it
_NAMES = tuple(kind for kind in KINDS if kind not in _AWKWARD)
_WITHIN, _WITHOUT = 0.10, 0.22  # distance from the line between two things, of what is plainly between them and what is not


@dataclass(frozen=True, slots=True)
class Drawn:
    """The slots of a wording, what the answer consists of, and its true values."""

    slots: dict[str, str]
    reply: str
    truth: tuple[str, ...]


Things = Sequence[Thing]


@dataclass(frozen=True, slots=True)
class Intent:
    """draw: takes the things of the scene, chance, and whether the answer should be yes; None where the answer is not plain."""

    draw: Callable[..., Drawn | None]
    images: int = 1

    def from_scenes(self, scenes: Sequence[Scene], rng: Random, wants_yes: bool) -> Drawn | None:
        """As `draw`."""
        return self.draw(*(scene.things for scene in scenes), rng, wants_yes)


# ---------------------------------------------------------------- numbers


def _count_all(things: Things, rng: Random, _: bool) -> Drawn | None:
    return _number({}, len(things))


def _count_kind(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    return _number(_named(kind), _kinds(things).count(kind)) if kind in _NAMES else None


def _count_colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    colour = rng.choice(things).colour
    return _number({"colour": colour}, sum(thing.colour == colour for thing in things))


def _all_except(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    count = len(things) - _kinds(things).count(kind)
    return _number(_named(kind), count) if kind in _NAMES and count else None


def _not_colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    colour = rng.choice(things).colour
    count = sum(thing.colour != colour for thing in things)
    return _number({"colour": colour}, count) if count else None


def _many(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    count = _kinds(things).count(kind)
    return _number(_named(kind), count) if kind in _NAMES and count > 1 else None


def _in_second_image(first: Things, second: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(second).kind
    one, two = _kinds(first).count(kind), _kinds(second).count(kind)
    return _number(_named(kind), two) if kind in _NAMES and one not in (0, two) else None


def _in_both_images(first: Things, second: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(first).kind
    count = _kinds(second).count(kind)
    return _number(_named(kind), _kinds(first).count(kind) + count) if kind in _NAMES and count else None


# ---------------------------------------------------------------- yes or no


def _existence(things: Things, rng: Random, yes: bool) -> Drawn | None:
    return _yes_no(_named(_name(things, rng, there=yes)), yes)


def _either(things: Things, rng: Random, yes: bool) -> Drawn | None:
    one, other = _name(things, rng, there=yes), _name(things, rng, there=False)
    return _yes_no(_two(one, other), yes) if one != other else None


def _both(things: Things, rng: Random, yes: bool) -> Drawn | None:
    one, other = _name(things, rng, there=True), _name(things, rng, there=yes)
    return _yes_no(_two(one, other), yes) if one != other else None


def _is_left_of(things: Things, rng: Random, yes: bool) -> Drawn | None:
    pair = _alone(things, rng, 2)
    if pair is None or holds("left_of", *pair) is not yes:
        return None
    return _yes_no(_pair(*pair), yes)


def _two_alike(things: Things, rng: Random, yes: bool) -> Drawn | None:
    colours = [thing.colour for thing in things]
    return _yes_no({}, yes) if (len(set(colours)) < len(colours)) is yes else None


# ---------------------------------------------------------------- attributes


def _colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = _alone(things, rng, 1)
    return Drawn(_named(found[0].kind), "colours", (found[0].colour,)) if found else None


def _one_or_the_other(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = _alone(things, rng, 1)
    if found is None:
        return None
    (thing,) = found
    other = rng.choice([colour for colour in COLOURS if colour != thing.colour])
    return Drawn({"kind": thing.kind, "colour": thing.colour, "other": other}, "colours", (thing.colour,))


def _colours_in_order(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    group = [thing for thing in things if thing.kind == kind]
    order = ranked(group, "leftmost", len(group)) if kind in _NAMES and len(group) > 1 else None
    colours = tuple(thing.colour for thing in order or ())
    return Drawn(_named(kind), "colours", colours) if len(set(colours)) > 1 else None


def _and_the_other(things: Things, rng: Random, _: bool) -> Drawn | None:
    pair = _alone(things, rng, 2)
    return Drawn(_pair(*pair), "colours", (pair[1].colour,)) if pair and pair[0].colour != pair[1].colour else None


def _its_colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    order = ranked(things, "largest")
    return Drawn({}, "colours", (order[0].colour,)) if order else None


def _where(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = _alone(things, rng, 1)
    words = (place(found[0]) or "").split() if found else []
    return Drawn(_named(found[0].kind), "place", tuple(words)) if found and len(words) == 2 else None


# ---------------------------------------------------------------- things


def _corner(things: Things, rng: Random, _: bool) -> Drawn | None:
    vertical, side = rng.choice(("top", "bottom")), rng.choice(("left", "right"))
    middles = [(thing, *centre(thing)) for thing in things]
    quarter = [thing for thing, x, y in middles if (y < 0.5) is (vertical == "top") and (x < 0.5) is (side == "left")]
    if len(quarter) != 1 or place(quarter[0]) != f"{vertical} {side}":
        return None
    slots = {"bottom": vertical, "lower": {"top": "upper", "bottom": "lower"}[vertical], "left": side}
    return _thing(slots, quarter[0])


def _between(things: Things, rng: Random, _: bool) -> Drawn | None:
    pair = _alone(things, rng, 2)
    if pair is None:
        return None
    others = [thing for thing in things if thing not in pair]
    truths = [_lies_between(thing, *pair) for thing in others]
    return _thing(_pair(*pair), others[truths.index(True)]) if None not in truths and truths.count(True) == 1 else None


def _largest(things: Things, rng: Random, _: bool) -> Drawn | None:
    order = ranked(things, "largest")
    return _thing({}, order[0]) if order else None


def _left_of(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = _alone(things, rng, 1)
    left = in_relation(things, "left_of", found[0]) if found else None
    return _thing(_named(found[0].kind), left[0]) if found and left and len(left) == 1 else None


def _nearest(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = _alone(things, rng, 1)
    near = nearest(things, found[0]) if found else None
    return _thing(_named(found[0].kind), near) if found and near else None


def _which_is_larger(things: Things, rng: Random, _: bool) -> Drawn | None:
    pair = _alone(things, rng, 2)
    is_larger = holds("larger_than", *pair) if pair else None
    return None if pair is None or is_larger is None else _thing(_pair(*pair), pair[0] if is_larger else pair[1])


def _third_from_left(things: Things, rng: Random, _: bool) -> Drawn | None:
    order = ranked(things, "leftmost", 3)
    return _thing({}, order[2]) if order and len(order) > 3 else None


def _everything(things: Things, rng: Random, _: bool) -> Drawn | None:
    return Drawn({}, "kinds", tuple(_kinds(things)))


def _which_image(first: Things, second: Things, rng: Random, yes: bool) -> Drawn | None:
    kind = rng.choice([*first, *second]).kind
    one, two = _kinds(first).count(kind), _kinds(second).count(kind)
    if kind not in _NAMES or not one or not two or one == two or (one > two) is not yes:
        return None
    return Drawn(_named(kind), "image", ("image1" if one > two else "image2",))


def _not_to_be_seen(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = _alone(things, rng, 1)
    return Drawn(_named(found[0].kind), "refusal", ()) if found else None


# ---------------------------------------------------------------- helpers


def _kinds(things: Things) -> list[str]:
    return [thing.kind for thing in things]


def _alone(things: Things, rng: Random, count: int) -> list[Thing] | None:
    """So many things, each the only one of its kind."""
    kinds = _kinds(things)
    alone = [thing for thing in things if kinds.count(thing.kind) == 1 and thing.kind in _NAMES]
    return rng.sample(alone, count) if len(alone) >= count else None


def _name(things: Things, rng: Random, *, there: bool) -> str:
    """A kind that is in the scene, or one that is not; of those with a plain name."""
    kinds = _kinds(things)
    return rng.choice([kind for kind in _NAMES if (kind in kinds) is there] or list(_NAMES))


def _lies_between(thing: Thing, one: Thing, other: Thing) -> bool | None:
    """Whether its centre is near the line between the two centres, and off their ends; None where that is not plain."""
    (x1, y1), (x2, y2), (x, y) = centre(one), centre(other), centre(thing)
    dx, dy = x2 - x1, y2 - y1
    length = (dx * dx + dy * dy) ** 0.5
    along, across = ((x - x1) * dx + (y - y1) * dy) / length**2, abs((x - x1) * dy - (y - y1) * dx) / length
    if 0.25 <= along <= 0.75 and across <= _WITHIN:
        return True
    return False if along <= 0 or along >= 1 or across >= _WITHOUT else None


def _named(kind: str) -> dict[str, str]:
    return {"kind": kind, "kinds": plural(kind), "a_kind": with_article(kind)}


def _two(one: str, other: str) -> dict[str, str]:
    return {**_named(one), "another": with_article(other), "others": plural(other)}


def _pair(one: Thing, other: Thing) -> dict[str, str]:
    return {"a": one.kind, "b": other.kind}


def _number(slots: dict[str, str], count: int) -> Drawn:
    return Drawn(slots, "number", (str(count),))


def _yes_no(slots: dict[str, str], yes: bool) -> Drawn:
    return Drawn(slots, "yes_no", ("yes" if yes else "no",))


def _thing(slots: dict[str, str], thing: Thing) -> Drawn:
    return Drawn(slots, "thing", (thing.colour, thing.kind))


INTENTS: dict[str, Intent] = {
    "count_all": Intent(_count_all),
    "count_kind": Intent(_count_kind),
    "count_colour": Intent(_count_colour),
    "existence": Intent(_existence),
    "colour": Intent(_colour),
    "colour_politely": Intent(_colour),
    "colour_with_typos": Intent(_colour),
    "corner": Intent(_corner),
    "place": Intent(_where),
    "between": Intent(_between),
    "one_or_the_other": Intent(_one_or_the_other),
    "either": Intent(_either),
    "both": Intent(_both),
    "all_except": Intent(_all_except),
    "not_colour": Intent(_not_colour),
    "largest": Intent(_largest),
    "left_of": Intent(_left_of),
    "nearest": Intent(_nearest),
    "which_is_larger": Intent(_which_is_larger),
    "is_left_of": Intent(_is_left_of),
    "two_alike": Intent(_two_alike),
    "everything": Intent(_everything),
    "colours_in_order": Intent(_colours_in_order),
    "third_from_left": Intent(_third_from_left),
    "which_image": Intent(_which_image, images=2),
    "in_second_image": Intent(_in_second_image, images=2),
    "in_both_images": Intent(_in_both_images, images=2),
    "and_the_other": Intent(_and_the_other),
    "how_many_then": Intent(_many),
    "its_colour": Intent(_its_colour),
    "not_to_be_seen": Intent(_not_to_be_seen),
}
