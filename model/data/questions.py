"""Questions about a rendered scene with exact answers, from its truth.

A family is a function that draws one example from a scene, or None where the scene offers none. Yes and no, left and
right, and so on are drawn first and the regions after, so that no answer can be guessed from its frequency.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random

from roi_agent.model.conversation import Turn
from roi_agent.model.data.art import COLOURS, KINDS, SIZES
from roi_agent.model.data.scenes import Scene, Thing
from roi_agent.prompts import load_blocks

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")

# A comparison is asked only where its answer is plain: centres this far apart, as a share of the image's side, areas this ratio.
MARGIN = 0.06
RATIO = 1.4

# Scenes with smaller seeds are held out: models are judged on them and never trained on them.
TRAINING_SEEDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Example:
    """A short conversation about a scene. regions: the thing behind each handle, as (name, index into scene.things)."""

    family: str
    turns: tuple[Turn, ...]
    regions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Fact:
    """A question with its answer and the reason that a later "why?" is answered with."""

    question: str
    answer: str
    reason: str = ""


_Family = Callable[["_Scenery"], _Fact | None]


class _Scenery:
    """A scene, handles for some of its things, and a source of chance."""

    def __init__(self, scene: Scene, rng: Random) -> None:
        self.things, self.rng = scene.things, rng
        self.handles: dict[int, str] = {}

    def pick(self, count: int, fits: Callable[..., bool] = lambda *things: True) -> list[int] | None:
        """Indices of distinct things that fit together, in random order, under new handles; None where there are none."""
        candidates = list(permutations(range(len(self.things)), count))
        self.rng.shuffle(candidates)
        chosen = next((each for each in candidates if fits(*(self.things[i] for i in each))), None)
        if chosen is None:
            return None
        numbers = list(range(1, count + 1)) if self.rng.random() < 0.75 else self.rng.sample(range(1, 31), count)
        self.rng.shuffle(numbers)
        self.handles = {index: f"region{number}" for index, number in zip(chosen, numbers, strict=True)}
        return list(chosen)

    def several(self) -> list[int] | None:
        """Three to five things under handles; None in a scene with fewer than three."""
        return self.pick(self.rng.randint(3, max(3, min(5, len(self.things)))))

    def say(self, wording: str, indices: Sequence[int], **words: str) -> str:
        """A wording with the things' mentions filled in."""
        mentions = [f"<{self.handles[index]}>" for index in indices]
        line = self.rng.choice(load_blocks("toy_world")[wording].splitlines())
        return line.format(a=mentions[0], b=mentions[1] if len(mentions) > 1 else "", all=listing(mentions), **words)

    def coin(self) -> bool:
        return self.rng.random() < 0.5


def make_example(scene: Scene, family: str, rng: Random) -> Example | None:
    """One conversation of a family about the scene, or None where the scene offers none."""
    scenery = _Scenery(scene, rng)
    if family == "why":
        fact = FAMILIES[rng.choice(_WITH_REASON)](scenery)
        turns = [Turn(fact.question, fact.answer), Turn(scenery.say("why", list(scenery.handles)), fact.reason)] if fact else []
    else:
        fact = FAMILIES[family](scenery)
        turns = [Turn(fact.question, fact.answer)] if fact else []
    if not turns:
        return None
    by_number = sorted(((name, index) for index, name in scenery.handles.items()), key=lambda pair: _number(pair[0]))
    return Example(family, tuple(turns), tuple(by_number))


def listing(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def article(words: str) -> str:
    """The words with 'a' or 'an' in front."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(kind: str) -> str:
    """The plural of a kind of thing."""
    if kind in ("fish", "scissors"):
        return kind
    if kind[-1] == "y" and kind[-2] not in "aeiou":
        return kind[:-1] + "ies"
    return kind + ("es" if kind.endswith(("s", "x", "ch", "sh")) else "s")


def place(thing: Thing) -> str | None:
    """The part of the image, in thirds, that holds the thing's centre; None near a border between two parts."""
    x, y = centre(thing)
    if any(abs(value - border) < MARGIN / 2 for value in (x, y) for border in (1 / 3, 2 / 3)):
        return None
    row, column = ("top", "", "bottom")[int(y * 3)], ("left", "", "right")[int(x * 3)]
    return f"{row} {column}".strip() or "centre"


def centre(thing: Thing) -> tuple[float, float]:
    """The centre of the thing's box, in [0, 1]."""
    return (thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2


def area(thing: Thing) -> float:
    """The area of the thing's box as a share of the image."""
    return (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1])


def gap(one: Thing, other: Thing) -> float:
    """The distance between two boxes along the axis that separates them most; negative where they overlap."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = one.box, other.box
    return max(ax1 - bx2, bx1 - ax2, ay1 - by2, by1 - ay2)


# ---------------------------------------------------------------- one region


def _colour(scenery: _Scenery) -> _Fact | None:
    (index,) = scenery.pick(1) or [0]
    return _Fact(scenery.say("colour", [index]), scenery.things[index].colour)


def _kind(scenery: _Scenery) -> _Fact | None:
    (index,) = scenery.pick(1) or [0]
    return _Fact(scenery.say("kind", [index]), scenery.things[index].kind)


def _name(scenery: _Scenery) -> _Fact | None:
    (index,) = scenery.pick(1) or [0]
    return _Fact(scenery.say("name", [index]), article(scenery.things[index].name))


def _size(scenery: _Scenery) -> _Fact | None:
    size = scenery.rng.choice(tuple(SIZES))
    found = scenery.pick(1, lambda thing: thing.size == size)
    return _Fact(scenery.say("size", found), size) if found else None


def _place(scenery: _Scenery) -> _Fact | None:
    found = scenery.pick(1, lambda thing: place(thing) is not None)
    return _Fact(scenery.say("place", found), str(place(scenery.things[found[0]]))) if found else None


def _presence(scenery: _Scenery) -> _Fact | None:
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
    reason = f"{scenery.handles[index]} is {article(f'{thing.colour} {thing.kind}')}"
    return _Fact(scenery.say("presence", [index], thing=article(asked)), _yes_no(truth), reason)


# ---------------------------------------------------------------- two regions


def _relation(scenery: _Scenery) -> _Fact | None:
    relation = scenery.rng.choice(tuple(_DIRECTIONS))
    axis, sign = _DIRECTIONS[relation]
    truth = scenery.coin()
    wanted = sign if truth else -sign
    pair = _apart_pair(scenery, axis, wanted)
    if not pair:
        return None
    asked = scenery.rng.choice((relation, f"to the {relation}")) if axis == 0 else relation
    return _Fact(scenery.say("relation", pair, relation=asked), _yes_no(truth), _direction_reason(scenery, pair, axis, wanted))


def _side(scenery: _Scenery) -> _Fact | None:
    axis, sign = scenery.rng.choice(tuple(_DIRECTIONS.values()))
    pair = _apart_pair(scenery, axis, sign)
    if not pair:
        return None
    question = scenery.say(("side", "height")[axis], pair)
    answer = (("left", "right"), ("above", "below"))[axis][sign > 0]
    return _Fact(question, answer, _direction_reason(scenery, pair, axis, sign))


def _larger(scenery: _Scenery) -> _Fact | None:
    relation, truth = scenery.rng.choice(("larger", "smaller")), scenery.coin()
    pair = _unequal_pair(scenery, first_larger=(relation == "larger") == truth)
    if not pair:
        return None
    a, b = (scenery.handles[index] for index in pair)
    told = relation if truth else _opposite(relation)
    return _Fact(scenery.say("larger", pair, relation=relation), _yes_no(truth), f"{a} is {told} than {b}")


def _which_larger(scenery: _Scenery) -> _Fact | None:
    relation, first = scenery.rng.choice(("larger", "smaller")), scenery.coin()
    pair = _unequal_pair(scenery, first_larger=(relation == "larger") == first)
    if not pair:
        return None
    answer, other = (scenery.handles[index] for index in (pair if first else pair[::-1]))
    return _Fact(scenery.say("which_larger", pair, relation=relation), answer, f"{answer} is {relation} than {other}")


def _same_colour(scenery: _Scenery) -> _Fact | None:
    truth = scenery.coin()
    pair = scenery.pick(2, lambda a, b: (a.colour == b.colour) == truth)
    if not pair:
        return None
    (name_a, a), (name_b, b) = ((scenery.handles[index], scenery.things[index]) for index in pair)
    reason = f"{name_a} is {a.colour} and {name_b} is {b.colour}"
    return _Fact(scenery.say("same_colour", pair), _yes_no(truth), reason)


def _same_kind(scenery: _Scenery) -> _Fact | None:
    truth = scenery.coin()
    pair = scenery.pick(2, lambda a, b: (a.kind == b.kind) == truth)
    if not pair:
        return None
    (name_a, a), (name_b, b) = ((scenery.handles[index], scenery.things[index]) for index in pair)
    reason = f"{name_a} is {article(a.kind)} and {name_b} is {article(b.kind)}"
    return _Fact(scenery.say("same_kind", pair), _yes_no(truth), reason)


def _touching(scenery: _Scenery) -> _Fact | None:
    """Two regions touch where their boxes overlap; a narrow gap is not asked about."""
    truth = scenery.coin()
    if not truth and scenery.rng.random() < 0.7:
        return None  # few scenes hold a yes
    pair = scenery.pick(2, lambda a, b: gap(a, b) < -0.01 if truth else 0.03 < gap(a, b) < 0.25)
    if not pair:
        return None
    a, b = (scenery.handles[index] for index in pair)
    reason = f"the boxes of {a} and {b} overlap" if truth else f"there is a gap between {a} and {b}"
    return _Fact(scenery.say("touching", pair), _yes_no(truth), reason)


# ---------------------------------------------------------------- three or more regions


def _superlative(scenery: _Scenery) -> _Fact | None:
    relation, (measure, margin) = scenery.rng.choice(list(_SUPERLATIVES.items()))
    indices = scenery.several()
    if not indices:
        return None
    best, second = sorted(indices, key=lambda index: measure(scenery.things[index]), reverse=True)[:2]
    if measure(scenery.things[best]) - measure(scenery.things[second]) < margin:
        return None
    answer = scenery.handles[best]
    return _Fact(scenery.say("superlative", indices, relation=relation), answer, f"{answer} is the {relation}")


def _which_one(scenery: _Scenery) -> _Fact | None:
    indices = scenery.several()
    if not indices:
        return None
    target = scenery.things[scenery.rng.choice(indices)]
    form = scenery.rng.choice(("colour", "kind", "both"))
    if scenery.rng.random() < 0.15:
        wanted_colour, wanted_kind = scenery.rng.choice(tuple(COLOURS)), scenery.rng.choice(KINDS)
    else:
        wanted_colour, wanted_kind = target.colour, target.kind
    fits = [i for i in indices if _matches(scenery.things[i], form, wanted_colour, wanted_kind)]
    asked = {"colour": wanted_colour, "kind": article(wanted_kind), "both": article(f"{wanted_colour} {wanted_kind}")}[form]
    if len(fits) > 1:
        return None
    answer = scenery.handles[fits[0]] if fits else "none of them"
    return _Fact(scenery.say("which_one", indices, thing=asked), answer)


def _shared(scenery: _Scenery) -> _Fact | None:
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
    return _Fact(scenery.say("shared", found), answers.get(wanted, f"the colour {thing.colour} and the kind {thing.kind}"))


def _count(scenery: _Scenery) -> _Fact | None:
    """The number is drawn first, so that "one" is not nearly always right."""
    indices = scenery.several()
    if not indices:
        return None
    asks: dict[int, list[tuple[str, str]]] = {}
    for form, of in (("colour", {thing.colour for thing in scenery.things}), ("kind", {thing.kind for thing in scenery.things})):
        for value in sorted(of):
            asks.setdefault(len(_having(scenery, indices, form, value)), []).append((form, value))
    form, value = scenery.rng.choice(asks[scenery.rng.choice(sorted(asks))])
    fits = _having(scenery, indices, form, value)
    asked = value if form == "colour" else plural(value)
    told = listing(sorted((scenery.handles[i] for i in fits), key=_number)) if fits else "none of them"
    reason = f"{told} {'are' if len(fits) > 1 else 'is'} {asked if form == 'colour' or len(fits) > 1 else article(value)}"
    return _Fact(scenery.say("count", indices, things=asked), COUNTS[len(fits)], reason)


# ---------------------------------------------------------------- helpers


def _unequal_pair(scenery: _Scenery, *, first_larger: bool) -> list[int] | None:
    return scenery.pick(2, lambda a, b: area(a) > RATIO * area(b) if first_larger else area(b) > RATIO * area(a))


def _apart_pair(scenery: _Scenery, axis: int, sign: int) -> list[int] | None:
    return scenery.pick(2, lambda a, b: (centre(a)[axis] - centre(b)[axis]) * sign > MARGIN)


def _direction_reason(scenery: _Scenery, pair: Sequence[int], axis: int, sign: int) -> str:
    a, b = (scenery.handles[index] for index in pair)
    return f"{a} is {(('at the left of', 'at the right of'), ('above', 'below'))[axis][sign > 0]} {b}"


def _matches(thing: Thing, form: str, colour: str, kind: str) -> bool:
    return (form == "kind" or thing.colour == colour) and (form == "colour" or thing.kind == kind)


def _having(scenery: _Scenery, indices: Sequence[int], attribute: str, value: str) -> list[int]:
    return [index for index in indices if getattr(scenery.things[index], attribute) == value]


def _number(handle: str) -> int:
    return int(handle.removeprefix("region"))


def _opposite(relation: str) -> str:
    return "smaller" if relation == "larger" else "larger"


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


_DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis of the image, sign
_SUPERLATIVES: dict[str, tuple[Callable[[Thing], float], float]] = {
    "leftmost": (lambda thing: -centre(thing)[0], MARGIN),
    "rightmost": (lambda thing: centre(thing)[0], MARGIN),
    "topmost": (lambda thing: -centre(thing)[1], MARGIN),
    "lowest": (lambda thing: centre(thing)[1], MARGIN),
    "largest": (lambda thing: area(thing), 0.015),
    "smallest": (lambda thing: -area(thing), 0.008),
}

FAMILIES: dict[str, _Family] = {
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
    "same_colour": _same_colour,
    "same_kind": _same_kind,
    "touching": _touching,
    "superlative": _superlative,
    "which_one": _which_one,
    "shared": _shared,
    "count": _count,
}
_WITH_REASON = (
    "presence",
    "relation",
    "side",
    "larger",
    "which_larger",
    "same_colour",
    "same_kind",
    "touching",
    "superlative",
    "count",
)
FAMILY_NAMES = (*FAMILIES, "why")
