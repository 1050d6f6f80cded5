"""Terms of compositional questions: relations that hold unambiguously, and words for one thing or for a group.

Positions and distances are in fractions of the image's side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import dist
from random import Random

from roi_agent.model.data.english import plural, with_article
from roi_agent.model.toy.questions.families import MARGIN, RATIO, SUPERLATIVES, Fact
from roi_agent.model.toy.questions.phrases import Phrase
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.relations import area, centre
from roi_agent.model.toy.world.scenes import Scene, Thing
from roi_agent.prompts import load_blocks

NONE = "none"
SIZE_RATIO = 1.25  # minimum ratio of areas, between an extreme thing and any other
NEAR_RATIO = 1.3  # minimum ratio of distances, between any other thing and the nearest
DIRECTIONS = {"left_of": (0, -1), "right_of": (0, 1), "above": (1, -1), "below": (1, 1)}  # axis of the image, sign

Look = tuple[str, ...]  # the attributes that a phrase names
COLOUR_KIND: Look = ("colour", "kind")
GROUPS: tuple[Look, ...] = ((), ("kind",), ("colour",), ("size",))

_DESCRIPTIONS: tuple[Look, ...] = (*[COLOUR_KIND] * 6, ("kind",), ("kind",), ("size", "colour", "kind"), ("size", "kind"))
_VALUES: dict[str, Sequence[str]] = {"kind": KINDS, "colour": tuple(COLOURS), "size": tuple(SIZES)}
_SECOND = 0.15  # share of "the second largest" among superlatives of size


@dataclass(frozen=True, slots=True)
class Referent:
    """Words for one thing of a scene, and the thing, or None if the words describe nothing.

    attributes: those that the words name.  bare: the words after "the thing", if the words begin so, else empty.
    """

    text: str
    thing: Thing | None
    attributes: Look = ()
    bare: str = ""


class SceneSampler:
    """Draws phrases, things and relations of a scene at random.  Returns None or an empty list instead of ambiguous ones."""

    def __init__(self, scene: Scene, rng: Random) -> None:
        self.things, self.rng = scene.things, rng

    def fill(self, block: str, **words: str) -> str:
        """Draw a line of a block of the wordings, and fill it in."""
        return self.rng.choice(load_blocks("compositional")[block].splitlines()).format(**words)

    def question(self, block: str, phrase: Phrase | None = None, **words: str) -> str:
        """Draw the wording of a question; the phrase fills in {thing}, {a_thing} and {things}."""
        question = self.fill(block, **(forms_of(phrase) if phrase else {}), **words)
        return question[0].upper() + question[1:]

    def phrase(self, looks: Sequence[Look] = GROUPS, swap_chance: float = 0.0) -> Phrase:
        """Draw a phrase that describes a thing of the scene; `swap_chance` is the probability that one attribute is swapped."""
        thing, look = self.rng.choice(self.things), self.rng.choice(looks)
        values = {name: str(getattr(thing, name)) for name in look}
        if look and self.rng.random() < swap_chance:
            name = self.rng.choice(look)
            of_another = str(getattr(self.rng.choice(self.things), name))
            values[name] = self.rng.choice((of_another, self.rng.choice(_VALUES[name])))
        adjectives = [values[name] for name in ("size", "colour") if name in values]
        return Phrase(" ".join([*adjectives, values.get("kind") or self.fill("noun")]), **values)

    def matching(self, phrase: Phrase) -> list[Thing]:
        """Return all things that the phrase describes."""
        return [thing for thing in self.things if phrase.describes(thing)]

    def unique_thing(self, looks: Sequence[Look] = _DESCRIPTIONS) -> Referent | None:
        """Draw a thing, in words that describe nothing else."""
        return next(iter(self.unique_things(1, looks)), None)

    def unique_things(self, count: int, looks: Sequence[Look] = _DESCRIPTIONS) -> list[Referent]:
        """Draw `count` different things, each in words that describe nothing else, or none if the draws find fewer."""
        found: dict[Thing, Referent] = {}
        for _ in range(3 * count):
            phrase = self.phrase(looks)
            matches = self.matching(phrase)
            if len(matches) == 1:
                found.setdefault(matches[0], Referent(f"the {phrase.text}", matches[0], attributes_of(phrase)))
        return list(found.values())[:count] if len(found) >= count else []

    def missing_phrase(self, looks: Sequence[Look]) -> Phrase | None:
        """Draw a phrase that describes nothing in the scene, one attribute away from a thing."""
        phrase = self.phrase(looks, swap_chance=1)
        return None if self.matching(phrase) else phrase

    def related_things(
        self, phrase: Phrase, anchor: Referent | None, relations: Sequence[str] = tuple(DIRECTIONS)
    ) -> "Related | None":
        """Draw a relation, and find the things of the phrase in that relation to the anchor.

        A missing anchor has no related things.  Returns None if the phrase describes only the anchor.
        """
        if anchor is None or (matches := self.matching(phrase)) == [anchor.thing]:
            return None
        relation = self.rng.choice(relations)
        found = in_relation(matches, relation, anchor.thing) if anchor.thing else []
        return None if found is None else Related(phrase, self.fill(relation), anchor.text, found)

    def related_thing(self, phrase: Phrase, anchor: Referent | None) -> Referent | None:
        """Return the only thing of a phrase in a random relation to the anchor; its `thing` is None if there is none."""
        related = self.related_things(phrase, anchor)
        if related is None or len(related.found) > 1:
            return None
        text = self.fill("the_beside", **forms_of(phrase), relation=related.relation, b=related.anchor)
        bare = f"{related.relation} {related.anchor}" if phrase.form == "anything" else ""
        return Referent(text, related.found[0] if related.found else None, attributes_of(phrase), bare)

    def extreme_thing(self, phrase: Phrase) -> Referent | None:
        """Return an extreme thing of a phrase, such as the leftmost, the largest or the second smallest."""
        superlative = self.rng.choice(tuple(SUPERLATIVES))
        second = superlative in ("largest", "smallest") and self.rng.random() < _SECOND
        order = ranked(self.matching(phrase), superlative, 1 + second)
        if order is None or len(order) < 2 + second:
            return None
        word = self.fill(superlative)
        word = self.fill("second", superlative=word) if second else word
        return Referent(self.fill("the_extreme", **forms_of(phrase), superlative=word), order[second], attributes_of(phrase))

    def ask(self, about: Referent | None, attributes: Sequence[str]) -> Fact | None:
        """Ask for one of the attributes that the words do not name; the answer is "none" for a missing thing."""
        if about is None:
            return None
        hidden = {*about.attributes, *(["name"] if {*COLOUR_KIND} & {*about.attributes} else [])}
        asked = self.rng.choice([each for each in attributes if each not in hidden] or [""])
        if not asked:
            return None
        block = f"bare_{asked}" if about.bare and asked in ("kind", "name") else asked
        return Fact(self.question(block, a=about.text, bare=about.bare), _value(about.thing, asked))


@dataclass(frozen=True, slots=True)
class Related:
    """The things of a phrase in a relation to an anchor.  relation, anchor: in words."""

    phrase: Phrase
    relation: str
    anchor: str
    found: list[Thing]


# ---------------------------------------------------------------- relations that hold unambiguously


def larger(one: Thing, other: Thing, ratio: float = RATIO) -> bool:
    """Whether `one` is clearly larger: its area by the ratio, and also its longer side."""
    return area(one) >= ratio * area(other) and _length(one) > _length(other)


def holds(relation: str, one: Thing, other: Thing) -> bool | None:
    """Whether the relation holds, such as `one` left of `other`; None if that is ambiguous."""
    if relation not in DIRECTIONS:
        is_larger, is_smaller = larger(one, other), larger(other, one)
        return (is_larger if relation == "larger_than" else is_smaller) if is_larger or is_smaller else None
    axis, sign = DIRECTIONS[relation]
    away = (centre(one)[axis] - centre(other)[axis]) * sign
    return away > 0 if abs(away) > MARGIN else None


def in_relation(things: Iterable[Thing], relation: str, anchor: Thing) -> list[Thing] | None:
    """Return the things in the relation to the anchor, or None if that is ambiguous for any of them."""
    truths = [(thing, holds(relation, thing, anchor)) for thing in things if thing is not anchor]
    return None if any(truth is None for _, truth in truths) else [thing for thing, truth in truths if truth]


def ranked(things: Iterable[Thing], superlative: str, depth: int = 1) -> list[Thing] | None:
    """Sort two or more things, the most extreme first; None if the order of the first `depth` is ambiguous."""
    order = sorted(things, key=SUPERLATIVES[superlative][0], reverse=True)
    pairs = [(one, other) for i, one in enumerate(order[:depth]) for other in order[i + 1 :]]
    return order if pairs and all(_beats(superlative, *pair) for pair in pairs) else None


def nearest(things: Iterable[Thing], anchor: Thing) -> Thing | None:
    """Return the thing whose centre is nearest to the anchor's, or None if that is ambiguous or there is no other thing."""
    order = sorted((thing for thing in things if thing is not anchor), key=lambda thing: _distance(thing, anchor))
    plain = len(order) > 1 and _distance(order[1], anchor) >= NEAR_RATIO * _distance(order[0], anchor)
    return order[0] if plain else None


def _beats(superlative: str, one: Thing, other: Thing) -> bool:
    if superlative in ("largest", "smallest"):
        return larger(one, other, SIZE_RATIO) if superlative == "largest" else larger(other, one, SIZE_RATIO)
    measure, margin = SUPERLATIVES[superlative]
    return measure(one) - measure(other) > margin


def _distance(one: Thing, other: Thing) -> float:
    return dist(centre(one), centre(other))


def _length(thing: Thing) -> float:
    x1, y1, x2, y2 = thing.box
    return max(x2 - x1, y2 - y1)


# ---------------------------------------------------------------- words


def name(thing: Thing) -> str:
    """Return the name in answers, such as "red star"."""
    return f"{thing.colour} {thing.kind}"


def _value(thing: Thing | None, attribute: str) -> str:
    if thing is None:
        return NONE
    return name(thing) if attribute == "name" else str(getattr(thing, attribute))


def attributes_of(phrase: Phrase) -> Look:
    """Return the attributes that the phrase names."""
    return tuple(each for each in _VALUES if getattr(phrase, each) is not None)


def forms_of(phrase: Phrase) -> dict[str, str]:
    """Return the forms of a phrase: thing ("red star"), a_thing ("a red star") and things ("red stars")."""
    adjectives, space, noun = phrase.text.rpartition(" ")
    return {"thing": phrase.text, "a_thing": with_article(phrase.text), "things": f"{adjectives}{space}{plural(noun)}"}
