"""Families of questions about a scene: each draws a question with its answer and reason.

The answer, such as yes or left, is drawn first and the regions after it, so that answers cannot be guessed by frequency. A family
returns None if the scene has no such question. Skills that a model learns separately are separate families, such as "which is the
leftmost" and "which is the topmost".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from roi_agent.model.data.english import join_words, plural, with_article
from roi_agent.model.toy.questions.sampler import QuestionSampler
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.relations import area, centre, gap, place
from roi_agent.model.toy.world.scenes import Thing

COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")

# Comparisons are asked only if the answer is unambiguous.
MARGIN = 0.06  # minimum distance of two centres, as a fraction of the image's side
RATIO = 1.4  # minimum ratio of two areas
_OVERLAP = -0.01  # maximum gap of two touching boxes, as a fraction of the image's side


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, its answer, and the reason, which answers a later "why?"."""

    question: str
    answer: str
    reason: str = ""


Family = Callable[[QuestionSampler], Fact | None]


# ---------------------------------------------------------------- one region


def _colour(sampler: QuestionSampler) -> Fact | None:
    (index,) = sampler.pick(1) or [0]
    return Fact(sampler.question("colour", [index]), sampler.things[index].colour)


def _kind(sampler: QuestionSampler) -> Fact | None:
    (index,) = sampler.pick(1) or [0]
    return Fact(sampler.question("kind", [index]), sampler.things[index].kind)


def _name(sampler: QuestionSampler) -> Fact | None:
    (index,) = sampler.pick(1) or [0]
    return Fact(sampler.question("name", [index]), with_article(sampler.things[index].name))


def _size(sampler: QuestionSampler) -> Fact | None:
    size = sampler.rng.choice(tuple(SIZES))
    found = sampler.pick(1, lambda thing: thing.size == size)
    return Fact(sampler.question("size", found), size) if found else None


def _place(sampler: QuestionSampler) -> Fact | None:
    found = sampler.pick(1, lambda thing: place(thing) is not None)
    return Fact(sampler.question("place", found), str(place(sampler.things[found[0]]))) if found else None


def _presence(sampler: QuestionSampler) -> Fact | None:
    """Half of the false questions name another thing of the scene; the others differ in one attribute only."""
    (index,) = sampler.pick(1) or [0]
    thing, rng, truth = sampler.things[index], sampler.rng, sampler.coin()
    kind, colour = thing.kind, thing.colour
    form = rng.choice(("kind", "colour kind"))
    if not truth:
        others = [each for each in sampler.things if each.kind != kind]
        if others and sampler.coin():
            kind, colour = (other := rng.choice(others)).kind, other.colour
        elif form == "kind" or sampler.coin():
            kind = rng.choice([each for each in KINDS if each != kind])
        else:
            colour = rng.choice([each for each in COLOURS if each != colour])
    asked = kind if form == "kind" else f"{colour} {kind}"
    reason = f"{sampler.handles[index]} is {with_article(f'{thing.colour} {thing.kind}')}"
    return Fact(sampler.question("presence", [index], thing=with_article(asked)), yes_or_no(truth), reason)


# ---------------------------------------------------------------- two regions


def _relation(sampler: QuestionSampler) -> Fact | None:
    relation = sampler.rng.choice(tuple(_DIRECTIONS))
    axis, sign = _DIRECTIONS[relation]
    truth = sampler.coin()
    wanted = sign if truth else -sign
    pair = _apart_pair(sampler, axis, wanted)
    if not pair:
        return None
    asked = sampler.rng.choice((relation, f"to the {relation}")) if axis == 0 else relation
    reason = _direction_reason(sampler, pair, axis, wanted)
    return Fact(sampler.question("relation", pair, relation=asked), yes_or_no(truth), reason)


def _side(sampler: QuestionSampler) -> Fact | None:
    axis, sign = sampler.rng.choice(tuple(_DIRECTIONS.values()))
    pair = _apart_pair(sampler, axis, sign)
    if not pair:
        return None
    question = sampler.question(("side", "height")[axis], pair)
    answer = (("left", "right"), ("above", "below"))[axis][sign > 0]
    return Fact(question, answer, _direction_reason(sampler, pair, axis, sign))


def _larger(sampler: QuestionSampler) -> Fact | None:
    relation, truth = sampler.rng.choice(("larger", "smaller")), sampler.coin()
    pair = _unequal_pair(sampler, first_larger=(relation == "larger") == truth)
    if not pair:
        return None
    a, b = (sampler.handles[index] for index in pair)
    subject = relation if truth else _opposite(relation)
    return Fact(sampler.question("larger", pair, relation=relation), yes_or_no(truth), f"{a} is {subject} than {b}")


def _which_larger(sampler: QuestionSampler) -> Fact | None:
    relation, first = sampler.rng.choice(("larger", "smaller")), sampler.coin()
    pair = _unequal_pair(sampler, first_larger=(relation == "larger") == first)
    if not pair:
        return None
    answer, other = (sampler.handles[index] for index in (pair if first else pair[::-1]))
    return Fact(sampler.question("which_larger", pair, relation=relation), answer, f"{answer} is {relation} than {other}")


def _same(sampler: QuestionSampler, attribute: str) -> Fact | None:
    truth = sampler.coin()
    pair = sampler.pick(2, lambda a, b: (getattr(a, attribute) == getattr(b, attribute)) == truth)
    if not pair:
        return None
    values = [getattr(sampler.things[index], attribute) for index in pair]
    descriptions = [value if attribute == "colour" else with_article(value) for value in values]
    reason = " and ".join(f"{sampler.handles[index]} is {what}" for index, what in zip(pair, descriptions, strict=True))
    return Fact(sampler.question(f"same_{attribute}", pair), yes_or_no(truth), reason)


def _touching(sampler: QuestionSampler) -> Fact | None:
    """Two regions touch if their boxes overlap; pairs with a narrow gap are skipped."""
    if not any(gap(a, b) < _OVERLAP for a, b in combinations(sampler.things, 2)):
        return None  # scenes without a touching pair would make "no" more frequent
    truth = sampler.coin()
    pair = sampler.pick(2, lambda a, b: gap(a, b) < _OVERLAP if truth else 0.03 < gap(a, b) < 0.25)
    if not pair:
        return None
    a, b = (sampler.handles[index] for index in pair)
    reason = f"the boxes of {a} and {b} overlap" if truth else f"there is a gap between {a} and {b}"
    return Fact(sampler.question("touching", pair), yes_or_no(truth), reason)


# ---------------------------------------------------------------- three or more regions


def _superlative(sampler: QuestionSampler, relation: str) -> Fact | None:
    measure, margin = SUPERLATIVES[relation]
    indices = sampler.several()
    ranked = sorted(indices, key=lambda index: measure(sampler.things[index]), reverse=True)
    if len(ranked) < 2 or measure(sampler.things[ranked[0]]) - measure(sampler.things[ranked[1]]) < margin:
        return None
    answer = sampler.handles[ranked[0]]
    return Fact(sampler.question("superlative", indices, relation=relation), answer, f"{answer} is the {relation}")


def _which(sampler: QuestionSampler, form: str) -> Fact | None:
    """Ask which region has a colour, a kind or both; occasionally, none of them."""
    indices, rng = sampler.several(), sampler.rng
    target = sampler.things[rng.choice(indices)]
    if rng.random() < 0.15:
        wanted_colour, wanted_kind = rng.choice(tuple(COLOURS)), rng.choice(KINDS)
    else:
        wanted_colour, wanted_kind = target.colour, target.kind
    matches = [i for i in indices if _matches(sampler.things[i], form, wanted_colour, wanted_kind)]
    if len(indices) < 2 or len(matches) > 1:
        return None
    described = {"colour": wanted_colour, "kind": wanted_kind, "both": f"{wanted_colour} {wanted_kind}"}[form]
    asked = described if form == "colour" else with_article(described)
    return Fact(sampler.question("which_one", indices, thing=asked), sampler.handles[matches[0]] if matches else "none of them")


def _shared(sampler: QuestionSampler) -> Fact | None:
    wanted = sampler.rng.choice(("colour", "colour", "kind", "kind", "both", "nothing"))
    count = sampler.rng.choice((2, 3))

    def matches(*things: Thing) -> bool:
        one_colour, one_kind = len({each.colour for each in things}) == 1, len({each.kind for each in things}) == 1
        return {(True, False): "colour", (False, True): "kind", (True, True): "both"}.get(
            (one_colour, one_kind), "nothing"
        ) == wanted

    found = sampler.pick(count, matches)
    if not found:
        return None
    thing = sampler.things[found[0]]
    answers = {"colour": f"the colour {thing.colour}", "kind": f"the kind {thing.kind}", "nothing": "nothing"}
    return Fact(sampler.question("shared", found), answers.get(wanted, f"the colour {thing.colour} and the kind {thing.kind}"))


def _count(sampler: QuestionSampler, form: str) -> Fact | None:
    """The count is drawn first, so that "one" is not nearly always right."""
    indices = sampler.several()
    if len(indices) < 2:
        return None
    asks: dict[int, list[str]] = {}
    for value in sorted({str(getattr(thing, form)) for thing in sampler.things}):
        asks.setdefault(len(_having(sampler, indices, form, value)), []).append(value)
    value = sampler.rng.choice(asks[sampler.rng.choice(sorted(asks))])
    matches = _having(sampler, indices, form, value)
    asked = value if form == "colour" else plural(value)
    subject = join_words(sorted((sampler.handles[i] for i in matches), key=handle_number)) if matches else "none of them"
    if len(matches) > 1:
        reason = f"{subject} are {asked}"
    else:
        reason = f"{subject} is {asked if form == 'colour' else with_article(value)}"
    return Fact(sampler.question("count", indices, things=asked), COUNTS[len(matches)], reason)


# ---------------------------------------------------------------- helpers


def _unequal_pair(sampler: QuestionSampler, *, first_larger: bool) -> list[int] | None:
    return sampler.pick(2, lambda a, b: area(a) > RATIO * area(b) if first_larger else area(b) > RATIO * area(a))


def _apart_pair(sampler: QuestionSampler, axis: int, sign: int) -> list[int] | None:
    return sampler.pick(2, lambda a, b: (centre(a)[axis] - centre(b)[axis]) * sign > MARGIN)


def _direction_reason(sampler: QuestionSampler, pair: Sequence[int], axis: int, sign: int) -> str:
    a, b = (sampler.handles[index] for index in pair)
    return f"{a} is {(('at the left of', 'at the right of'), ('above', 'below'))[axis][sign > 0]} {b}"


def _matches(thing: Thing, form: str, colour: str, kind: str) -> bool:
    return (form == "kind" or thing.colour == colour) and (form == "colour" or thing.kind == kind)


def _having(sampler: QuestionSampler, indices: Sequence[int], attribute: str, value: str) -> list[int]:
    return [index for index in indices if getattr(sampler.things[index], attribute) == value]


def handle_number(handle: str) -> int:
    return int(handle.removeprefix("region"))


def _opposite(relation: str) -> str:
    return "smaller" if relation == "larger" else "larger"


def yes_or_no(truth: bool) -> str:
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
    *("presence", "relation", "side", "larger", "which_larger", "same_colour", "same_kind", "touching"),
    *SUPERLATIVES,
    *("count_colour", "count_kind"),
)
