"""Families of questions about a rendered scene: each draws one question from a scene, with its answer and the reason.

Yes and no, left and right, and so on are drawn first and the regions after, so that no answer can be guessed from its
frequency. A family gives None where the scene offers no such question. Skills that are learned apart are families apart:
"which is the leftmost" is one, "which is the topmost" another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from roi_agent.model.data.english import join_words, plural, with_article
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.relations import area, centre, gap, place
from roi_agent.model.toy.world.scenery import Scenery
from roi_agent.model.toy.world.scenes import Thing

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")

# A comparison is asked only where its answer is plain: centres this far apart, as a share of the image's side, areas this ratio.
MARGIN = 0.06
RATIO = 1.4
_OVERLAP = -0.01  # gap of two boxes that overlap plainly, as a share of the image's side


@dataclass(frozen=True, slots=True)
class Fact:
    """A question with its answer and the reason that a later "why?" is answered with."""

    question: str
    answer: str
    reason: str = ""


Family = Callable[[Scenery], Fact | None]


# ---------------------------------------------------------------- one region


def _colour(scenery: Scenery) -> Fact | None:
    (index,) = scenery.pick(1) or [0]
    return Fact(scenery.say("colour", [index]), scenery.things[index].colour)


def _kind(scenery: Scenery) -> Fact | None:
    (index,) = scenery.pick(1) or [0]
    return Fact(scenery.say("kind", [index]), scenery.things[index].kind)


def _name(scenery: Scenery) -> Fact | None:
    (index,) = scenery.pick(1) or [0]
    return Fact(scenery.say("name", [index]), with_article(scenery.things[index].name))


def _size(scenery: Scenery) -> Fact | None:
    size = scenery.rng.choice(tuple(SIZES))
    found = scenery.pick(1, lambda thing: thing.size == size)
    return Fact(scenery.say("size", found), size) if found else None


def _place(scenery: Scenery) -> Fact | None:
    found = scenery.pick(1, lambda thing: place(thing) is not None)
    return Fact(scenery.say("place", found), str(place(scenery.things[found[0]]))) if found else None


def _presence(scenery: Scenery) -> Fact | None:
    """Half of the no's name another thing of the same scene, the rest differ in one attribute only."""
    (index,) = scenery.pick(1) or [0]
    thing, rng, truth = scenery.things[index], scenery.rng, scenery.coin()
    kind, colour = thing.kind, thing.colour
    form = rng.choice(("kind", "colour kind"))
    if not truth:
        others = [each for each in scenery.things if each.kind != kind]
        if others and scenery.coin():
            kind, colour = (other := rng.choice(others)).kind, other.colour
        elif form == "kind" or scenery.coin():
            kind = rng.choice([each for each in KINDS if each != kind])
        else:
            colour = rng.choice([each for each in COLOURS if each != colour])
    asked = kind if form == "kind" else f"{colour} {kind}"
    reason = f"{scenery.handles[index]} is {with_article(f'{thing.colour} {thing.kind}')}"
    return Fact(scenery.say("presence", [index], thing=with_article(asked)), _yes_no(truth), reason)


# ---------------------------------------------------------------- two regions


def _relation(scenery: Scenery) -> Fact | None:
    relation = scenery.rng.choice(tuple(_DIRECTIONS))
    axis, sign = _DIRECTIONS[relation]
    truth = scenery.coin()
    wanted = sign if truth else -sign
    pair = _apart_pair(scenery, axis, wanted)
    if not pair:
        return None
    asked = scenery.rng.choice((relation, f"to the {relation}")) if axis == 0 else relation
    return Fact(scenery.say("relation", pair, relation=asked), _yes_no(truth), _direction_reason(scenery, pair, axis, wanted))


def _side(scenery: Scenery) -> Fact | None:
    axis, sign = scenery.rng.choice(tuple(_DIRECTIONS.values()))
    pair = _apart_pair(scenery, axis, sign)
    if not pair:
        return None
    question = scenery.say(("side", "height")[axis], pair)
    answer = (("left", "right"), ("above", "below"))[axis][sign > 0]
    return Fact(question, answer, _direction_reason(scenery, pair, axis, sign))


def _larger(scenery: Scenery) -> Fact | None:
    relation, truth = scenery.rng.choice(("larger", "smaller")), scenery.coin()
    pair = _unequal_pair(scenery, first_larger=(relation == "larger") == truth)
    if not pair:
        return None
    a, b = (scenery.handles[index] for index in pair)
    told = relation if truth else _opposite(relation)
    return Fact(scenery.say("larger", pair, relation=relation), _yes_no(truth), f"{a} is {told} than {b}")


def _which_larger(scenery: Scenery) -> Fact | None:
    relation, first = scenery.rng.choice(("larger", "smaller")), scenery.coin()
    pair = _unequal_pair(scenery, first_larger=(relation == "larger") == first)
    if not pair:
        return None
    answer, other = (scenery.handles[index] for index in (pair if first else pair[::-1]))
    return Fact(scenery.say("which_larger", pair, relation=relation), answer, f"{answer} is {relation} than {other}")


def _same(scenery: Scenery, attribute: str) -> Fact | None:
    truth = scenery.coin()
    pair = scenery.pick(2, lambda a, b: (getattr(a, attribute) == getattr(b, attribute)) == truth)
    if not pair:
        return None
    values = [getattr(scenery.things[index], attribute) for index in pair]
    said = [value if attribute == "colour" else with_article(value) for value in values]
    reason = " and ".join(f"{scenery.handles[index]} is {what}" for index, what in zip(pair, said, strict=True))
    return Fact(scenery.say(f"same_{attribute}", pair), _yes_no(truth), reason)


def _touching(scenery: Scenery) -> Fact | None:
    """Two regions touch where their boxes overlap; a narrow gap is not asked about."""
    if not any(gap(a, b) < _OVERLAP for a, b in combinations(scenery.things, 2)):
        return None  # a scene where nothing can be a yes would make "no" the likelier answer
    truth = scenery.coin()
    pair = scenery.pick(2, lambda a, b: gap(a, b) < _OVERLAP if truth else 0.03 < gap(a, b) < 0.25)
    if not pair:
        return None
    a, b = (scenery.handles[index] for index in pair)
    reason = f"the boxes of {a} and {b} overlap" if truth else f"there is a gap between {a} and {b}"
    return Fact(scenery.say("touching", pair), _yes_no(truth), reason)


# ---------------------------------------------------------------- three or more regions


def _superlative(scenery: Scenery, relation: str) -> Fact | None:
    measure, margin = SUPERLATIVES[relation]
    indices = scenery.several()
    ranked = sorted(indices, key=lambda index: measure(scenery.things[index]), reverse=True)
    if len(ranked) < 2 or measure(scenery.things[ranked[0]]) - measure(scenery.things[ranked[1]]) < margin:
        return None
    answer = scenery.handles[ranked[0]]
    return Fact(scenery.say("superlative", indices, relation=relation), answer, f"{answer} is the {relation}")


def _which(scenery: Scenery, form: str) -> Fact | None:
    """Which one has a colour, a kind or both; now and then, none of them has."""
    indices, rng = scenery.several(), scenery.rng
    target = scenery.things[rng.choice(indices)]
    if rng.random() < 0.15:
        wanted_colour, wanted_kind = rng.choice(tuple(COLOURS)), rng.choice(KINDS)
    else:
        wanted_colour, wanted_kind = target.colour, target.kind
    fits = [i for i in indices if _matches(scenery.things[i], form, wanted_colour, wanted_kind)]
    if len(indices) < 2 or len(fits) > 1:
        return None
    asked = {"colour": wanted_colour, "kind": with_article(wanted_kind), "both": with_article(f"{wanted_colour} {wanted_kind}")}[
        form
    ]
    return Fact(scenery.say("which_one", indices, thing=asked), scenery.handles[fits[0]] if fits else "none of them")


def _shared(scenery: Scenery) -> Fact | None:
    wanted = scenery.rng.choice(("colour", "colour", "kind", "kind", "both", "nothing"))
    count = scenery.rng.choice((2, 3))

    def fits(*things: Thing) -> bool:
        one_colour, one_kind = len({each.colour for each in things}) == 1, len({each.kind for each in things}) == 1
        return {(True, False): "colour", (False, True): "kind", (True, True): "both"}.get(
            (one_colour, one_kind), "nothing"
        ) == wanted

    found = scenery.pick(count, fits)
    if not found:
        return None
    thing = scenery.things[found[0]]
    answers = {"colour": f"the colour {thing.colour}", "kind": f"the kind {thing.kind}", "nothing": "nothing"}
    return Fact(scenery.say("shared", found), answers.get(wanted, f"the colour {thing.colour} and the kind {thing.kind}"))


def _count(scenery: Scenery, form: str) -> Fact | None:
    """The number is drawn first, so that "one" is not nearly always right."""
    indices = scenery.several()
    if len(indices) < 2:
        return None
    asks: dict[int, list[str]] = {}
    for value in sorted({str(getattr(thing, form)) for thing in scenery.things}):
        asks.setdefault(len(_having(scenery, indices, form, value)), []).append(value)
    value = scenery.rng.choice(asks[scenery.rng.choice(sorted(asks))])
    fits = _having(scenery, indices, form, value)
    asked = value if form == "colour" else plural(value)
    told = join_words(sorted((scenery.handles[i] for i in fits), key=handle_number)) if fits else "none of them"
    reason = f"{told} {'are' if len(fits) > 1 else 'is'} {asked if form == 'colour' or len(fits) > 1 else with_article(value)}"
    return Fact(scenery.say("count", indices, things=asked), COUNTS[len(fits)], reason)


# ---------------------------------------------------------------- helpers


def _unequal_pair(scenery: Scenery, *, first_larger: bool) -> list[int] | None:
    return scenery.pick(2, lambda a, b: area(a) > RATIO * area(b) if first_larger else area(b) > RATIO * area(a))


def _apart_pair(scenery: Scenery, axis: int, sign: int) -> list[int] | None:
    return scenery.pick(2, lambda a, b: (centre(a)[axis] - centre(b)[axis]) * sign > MARGIN)


def _direction_reason(scenery: Scenery, pair: Sequence[int], axis: int, sign: int) -> str:
    a, b = (scenery.handles[index] for index in pair)
    return f"{a} is {(('at the left of', 'at the right of'), ('above', 'below'))[axis][sign > 0]} {b}"


def _matches(thing: Thing, form: str, colour: str, kind: str) -> bool:
    return (form == "kind" or thing.colour == colour) and (form == "colour" or thing.kind == kind)


def _having(scenery: Scenery, indices: Sequence[int], attribute: str, value: str) -> list[int]:
    return [index for index in indices if getattr(scenery.things[index], attribute) == value]


def handle_number(handle: str) -> int:
    return int(handle.removeprefix("region"))


def _opposite(relation: str) -> str:
    return "smaller" if relation == "larger" else "larger"


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


_DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis of the image, sign
SUPERLATIVES: dict[str, tuple[Callable[[Thing], float], float]] = {
    "leftmost": (lambda thing: -centre(thing)[0], MARGIN),
    "rightmost": (lambda thing: centre(thing)[0], MARGIN),
    "topmost": (lambda thing: -centre(thing)[1], MARGIN),
    "lowest": (lambda thing: centre(thing)[1], MARGIN),
    "largest": (lambda thing: area(thing), 0.015),
    "smallest": (lambda thing: -area(thing), 0.008),
}

FAMILIES: dict[str, Family] = {
    "colour": _colour,
    "kind": _kind,
    "name": _name,
    "size": _size,
    "place": _place,
    "presence": _presence,
    "relation": _relation,
    "side": _side,
    "larger": _larger,
    "which_larger": _which_larger,
    "same_colour": partial(_same, attribute="colour"),
    "same_kind": partial(_same, attribute="kind"),
    "touching": _touching,
    "shared": _shared,
    **{relation: partial(_superlative, relation=relation) for relation in SUPERLATIVES},
    "which_colour": partial(_which, form="colour"),
    "which_kind": partial(_which, form="kind"),
    "which_thing": partial(_which, form="both"),
    "count_colour": partial(_count, form="colour"),
    "count_kind": partial(_count, form="kind"),
}
ABOUT_ONE = ("colour", "kind", "name", "size", "place", "presence")
WITH_REASON = (
    "presence",
    "relation",
    "side",
    "larger",
    "which_larger",
    "same_colour",
    "same_kind",
    "touching",
    *SUPERLATIVES,
    "count_colour",
    "count_kind",
)
