"""What natural questions ask for: each intent takes its slots and the true answer from scenes in which the answer is plain.

Positions and distances are in parts of the image's side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from roi_agent.model.toy.questions.compositional_terms import holds, in_relation, nearest, ranked
from roi_agent.model.toy.questions.natural_terms import (
    NAMES,
    Drawn,
    Things,
    a_name,
    alone,
    kinds_of,
    lies_between,
    name_slots,
    number_reply,
    pair_slots,
    thing_reply,
    two_name_slots,
    yes_no_reply,
)
from roi_agent.model.toy.world.art import COLOURS
from roi_agent.model.toy.world.relations import centre, place
from roi_agent.model.toy.world.scenes import Scene


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
    return number_reply({}, len(things))


def _count_kind(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    return number_reply(name_slots(kind), kinds_of(things).count(kind)) if kind in NAMES else None


def _count_colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    colour = rng.choice(things).colour
    return number_reply({"colour": colour}, sum(thing.colour == colour for thing in things))


def _all_except(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    count = len(things) - kinds_of(things).count(kind)
    return number_reply(name_slots(kind), count) if kind in NAMES and count else None


def _not_colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    colour = rng.choice(things).colour
    count = sum(thing.colour != colour for thing in things)
    return number_reply({"colour": colour}, count) if count else None


def _many(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    count = kinds_of(things).count(kind)
    return number_reply(name_slots(kind), count) if kind in NAMES and count > 1 else None


def _in_second_image(first: Things, second: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(second).kind
    one, two = kinds_of(first).count(kind), kinds_of(second).count(kind)
    return number_reply(name_slots(kind), two) if kind in NAMES and one not in (0, two) else None


def _in_both_images(first: Things, second: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(first).kind
    count = kinds_of(second).count(kind)
    return number_reply(name_slots(kind), kinds_of(first).count(kind) + count) if kind in NAMES and count else None


# ---------------------------------------------------------------- yes or no


def _existence(things: Things, rng: Random, yes: bool) -> Drawn | None:
    return yes_no_reply(name_slots(a_name(things, rng, there=yes)), yes)


def _either(things: Things, rng: Random, yes: bool) -> Drawn | None:
    one, other = a_name(things, rng, there=yes), a_name(things, rng, there=False)
    return yes_no_reply(two_name_slots(one, other), yes) if one != other else None


def _both(things: Things, rng: Random, yes: bool) -> Drawn | None:
    one, other = a_name(things, rng, there=True), a_name(things, rng, there=yes)
    return yes_no_reply(two_name_slots(one, other), yes) if one != other else None


def _is_left_of(things: Things, rng: Random, yes: bool) -> Drawn | None:
    pair = alone(things, rng, 2)
    if pair is None or holds("left_of", *pair) is not yes:
        return None
    return yes_no_reply(pair_slots(*pair), yes)


def _two_alike(things: Things, rng: Random, yes: bool) -> Drawn | None:
    colours = [thing.colour for thing in things]
    return yes_no_reply({}, yes) if (len(set(colours)) < len(colours)) is yes else None


# ---------------------------------------------------------------- attributes


def _colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = alone(things, rng, 1)
    return Drawn(name_slots(found[0].kind), "colours", (found[0].colour,)) if found else None


def _one_or_the_other(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = alone(things, rng, 1)
    if found is None:
        return None
    (thing,) = found
    other = rng.choice([colour for colour in COLOURS if colour != thing.colour])
    return Drawn({"kind": thing.kind, "colour": thing.colour, "other": other}, "colours", (thing.colour,))


def _colours_in_order(things: Things, rng: Random, _: bool) -> Drawn | None:
    kind = rng.choice(things).kind
    group = [thing for thing in things if thing.kind == kind]
    order = ranked(group, "leftmost", len(group)) if kind in NAMES and len(group) > 1 else None
    colours = tuple(thing.colour for thing in order or ())
    return Drawn(name_slots(kind), "colours", colours) if len(set(colours)) > 1 else None


def _and_the_other(things: Things, rng: Random, _: bool) -> Drawn | None:
    pair = alone(things, rng, 2)
    return Drawn(pair_slots(*pair), "colours", (pair[1].colour,)) if pair and pair[0].colour != pair[1].colour else None


def _its_colour(things: Things, rng: Random, _: bool) -> Drawn | None:
    order = ranked(things, "largest")
    return Drawn({}, "colours", (order[0].colour,)) if order else None


def _where(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = alone(things, rng, 1)
    words = (place(found[0]) or "").split() if found else []
    return Drawn(name_slots(found[0].kind), "place", tuple(words)) if found and len(words) == 2 else None


# ---------------------------------------------------------------- things


def _corner(things: Things, rng: Random, _: bool) -> Drawn | None:
    vertical, side = rng.choice(("top", "bottom")), rng.choice(("left", "right"))
    middles = [(thing, *centre(thing)) for thing in things]
    quarter = [thing for thing, x, y in middles if (y < 0.5) is (vertical == "top") and (x < 0.5) is (side == "left")]
    if len(quarter) != 1 or place(quarter[0]) != f"{vertical} {side}":
        return None
    slots = {"bottom": vertical, "lower": {"top": "upper", "bottom": "lower"}[vertical], "left": side}
    return thing_reply(slots, quarter[0])


def _between(things: Things, rng: Random, _: bool) -> Drawn | None:
    pair = alone(things, rng, 2)
    if pair is None:
        return None
    others = [thing for thing in things if thing not in pair]
    truths = [lies_between(thing, *pair) for thing in others]
    return thing_reply(pair_slots(*pair), others[truths.index(True)]) if None not in truths and truths.count(True) == 1 else None


def _largest(things: Things, rng: Random, _: bool) -> Drawn | None:
    order = ranked(things, "largest")
    return thing_reply({}, order[0]) if order else None


def _left_of(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = alone(things, rng, 1)
    left = in_relation(things, "left_of", found[0]) if found else None
    return thing_reply(name_slots(found[0].kind), left[0]) if found and left and len(left) == 1 else None


def _nearest(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = alone(things, rng, 1)
    near = nearest(things, found[0]) if found else None
    return thing_reply(name_slots(found[0].kind), near) if found and near else None


def _which_is_larger(things: Things, rng: Random, _: bool) -> Drawn | None:
    pair = alone(things, rng, 2)
    is_larger = holds("larger_than", *pair) if pair else None
    return None if pair is None or is_larger is None else thing_reply(pair_slots(*pair), pair[0] if is_larger else pair[1])


def _third_from_left(things: Things, rng: Random, _: bool) -> Drawn | None:
    order = ranked(things, "leftmost", 3)
    return thing_reply({}, order[2]) if order and len(order) > 3 else None


def _everything(things: Things, rng: Random, _: bool) -> Drawn | None:
    return Drawn({}, "kinds", tuple(kinds_of(things)))


def _which_image(first: Things, second: Things, rng: Random, yes: bool) -> Drawn | None:
    kind = rng.choice([*first, *second]).kind
    one, two = kinds_of(first).count(kind), kinds_of(second).count(kind)
    if kind not in NAMES or not one or not two or one == two or (one > two) is not yes:
        return None
    return Drawn(name_slots(kind), "image", ("image1" if one > two else "image2",))


def _not_to_be_seen(things: Things, rng: Random, _: bool) -> Drawn | None:
    found = alone(things, rng, 1)
    return Drawn(name_slots(found[0].kind), "refusal", ()) if found else None


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
