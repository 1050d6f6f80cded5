"""Reads the compositional questions again, by a small grammar of its own: what they ask follows from their words alone."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from itertools import pairwise
from math import dist

from roi_agent.model.data.english import plural
from roi_agent.model.toy.questions.compositional import VisualQuestion
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.relations import area, centre
from roi_agent.model.toy.world.scenes import Scene, Thing
from roi_agent.prompts import load_blocks

Measure = Callable[[Thing], float]

MEASURES: dict[str, Measure] = {  # the greater, the more so
    "left": lambda thing: -centre(thing)[0],
    "right": lambda thing: centre(thing)[0],
    "up": lambda thing: -centre(thing)[1],
    "down": lambda thing: centre(thing)[1],
    "larger": area,
    "smaller": lambda thing: -area(thing),
}
RELATIONS = {
    **{f"{way}{side} of": side for side in ("left", "right") for way in ("", "to the ")},
    **{"above": "up", "higher up than": "up", "below": "down", "lower down than": "down"},
    **{"larger than": "larger", "bigger than": "larger", "smaller than": "smaller"},
}
MORE = {
    **{f"further {way}{side}": side for side in ("left", "right") for way in ("", "to the ")},
    **{"further up": "up", "higher up": "up", "further down": "down", "lower down": "down"},
    **{"larger": "larger", "bigger": "larger", "smaller": "smaller"},
}
SUPERLATIVES = {
    **{"leftmost": "left", "rightmost": "right", "topmost": "up", "highest": "up", "lowest": "down", "bottommost": "down"},
    **{"largest": "larger", "biggest": "larger", "smallest": "smaller"},
}
NOUNS = {
    **{form: kind for kind in KINDS for form in (kind, plural(kind))},
    **dict.fromkeys(["thing", "things", "object", "objects"]),
}
MARGIN, NEAR = 0.06, 1.3


def one_of(words: object) -> str:
    assert isinstance(words, dict)
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


FIELDS = {
    **{"relation": one_of(RELATIONS), "more": one_of({**MORE, "more": "", "fewer": ""}), "attribute": "colour|kind"},
    **{"first": one_of(SUPERLATIVES), "last": one_of(SUPERLATIVES), "order": "from [a-z ]+", "value": r"\w+"},
}
NEAREST = re.compile(r"the (?P<head>.+?) (?:that is )?(?:nearest|closest) to (?P<anchor>the .+)")
ODD = re.compile(
    r"the (?:one |only )?(?P<head>.+?) (?:that differs in|of another|whose|that is not of the same) (?P<of>colour|kind) .+"
)
BESIDE = re.compile(rf"the (?P<head>.+?) (?:(?:that|which) is )?(?P<how>{FIELDS['relation']}) (?P<anchor>the .+)")


class Unreadable(Exception):
    """The words are not of this form."""


class Reader:
    """Works out what a question asks from its words alone; asserts that everything it compares is plain."""

    def __init__(self, scene: Scene, *, may_miss: bool = False) -> None:
        self.things, self.may_miss = scene.things, may_miss

    def group(self, words: str) -> list[Thing]:
        """Of "small red stars", "a star", "things"."""
        *adjectives, noun = re.sub(r"^an? ", "", words).split() or [""]
        if noun not in NOUNS or not {*adjectives} <= {*COLOURS, *SIZES}:
            raise Unreadable(words)
        looks = {*adjectives, NOUNS[noun]} - {None}
        return [thing for thing in self.things if looks <= {thing.colour, thing.size, thing.kind}]

    def the(self, words: str) -> Thing | None:
        """The one thing that is described; None where that may be missing and is."""
        found = self.read(words)
        assert len(found) == 1 or (self.may_miss and not found), words
        return found[0] if found else None

    def certain(self, words: str) -> Thing:
        thing = self.the(words)
        assert thing is not None
        return thing

    def read(self, words: str) -> list[Thing]:
        if match := NEAREST.fullmatch(words):
            return self.nearest(self.group(match["head"]), self.certain(match["anchor"]))
        if match := ODD.fullmatch(words):
            group, of = self.group(match["head"]), match["of"]
            assert len(group) >= 3
            return [one for one in group if [getattr(each, of) for each in group].count(getattr(one, of)) == 1]
        match = BESIDE.fullmatch(words)
        head = match["head"] if match else words.removeprefix("the ")
        if not match and head == words:
            raise Unreadable(words)
        second = head.startswith("second ")
        first, _, rest = head.removeprefix("second ").partition(" ")
        group = self.group(rest if first in SUPERLATIVES else head)
        if match:
            group = self.beside(group, match["how"], match["anchor"])
        return self.extreme(group, first, second)[second : second + 1] if first in SUPERLATIVES else group

    def beside(self, group: list[Thing], how: str, anchor: str) -> list[Thing]:
        other = self.the(anchor)
        others = [each for each in group if each is not other]
        return [each for each in others if exceeds(RELATIONS[how], each, other)] if other else []

    def extreme(self, group: list[Thing], superlative: str, second: bool) -> list[Thing]:
        """In order; the first is plain, and where the second is asked for, so is that one."""
        order = sorted(group, key=MEASURES[SUPERLATIVES[superlative]], reverse=True)
        assert len(order) > 1 + second or (self.may_miss and not order)
        for depth in range(1 + second):
            assert all(exceeds(SUPERLATIVES[superlative], order[depth], each, ratio=1.25) for each in order[depth + 1 :])
        return order

    def nearest(self, group: list[Thing], anchor: Thing) -> list[Thing]:
        order = sorted((dist(centre(each), centre(anchor)), i) for i, each in enumerate(group) if each is not anchor)
        assert order[1][0] >= NEAR * order[0][0]
        return [group[order[0][1]]]


def exceeds(how: str, one: Thing, other: Thing, ratio: float = 1.4) -> bool:
    """Whether it is more so; what is compared differs plainly, and what has the larger area is longer too."""
    away = MEASURES[how](one) - MEASURES[how](other)
    if how in ("larger", "smaller"):
        small, large = sorted((one, other), key=area)
        lengths = [max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]) for thing in (small, large)]
        assert area(large) >= ratio * area(small) and lengths[0] < lengths[1], (one, other)
    else:
        assert abs(away) > MARGIN, (one, other)
    return away > 0


def yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def named(thing: Thing) -> str:
    return f"{thing.colour} {thing.kind}"


def agree(things: list[Thing], attribute: str) -> str:
    assert len(things) >= 2
    return yes_no(len({getattr(thing, attribute) for thing in things}) == 1)


def attribute_of(reader: Reader, words: dict[str, str], attribute: str) -> str:
    thing = reader.the(words["a"] if "a" in words else f"the thing {words['bare']}")
    if thing is None:
        return "none"
    return named(thing) if attribute == "name" else str(getattr(thing, attribute))


def ordered(reader: Reader, words: dict[str, str], attribute: str) -> str:
    starts = {"left": "left", "right": "right", "top": "up", "bottom": "down", "largest": "larger", "smallest": "smaller"}
    start = starts[words["order"].removeprefix("from ").removeprefix("the ").split()[0]]
    order = sorted(reader.group(words["group"]), key=MEASURES[start], reverse=True)
    assert 2 <= len(order) <= 4
    assert all(exceeds(start, *pair, ratio=1.25) for pair in pairwise(order))
    return ", ".join(getattr(each, attribute) for each in order)


def which(reader: Reader, words: dict[str, str]) -> str:
    a, b = reader.certain(words["a"]), reader.certain(words["b"])
    return words["a" if exceeds(MORE[words["more"]], a, b) else "b"].lower().removeprefix("the ")


def other_alike(reader: Reader, words: dict[str, str]) -> str:
    thing, attribute = reader.certain(words["a"]), words["attribute"]
    (other,) = (each for each in reader.things if each is not thing and getattr(each, attribute) == getattr(thing, attribute))
    return named(other)


def all_are(reader: Reader, words: dict[str, str]) -> str:
    if words["value"] not in (*COLOURS, *NOUNS):
        raise Unreadable(words["value"])
    wanted = NOUNS.get(words["value"], words["value"])
    group = reader.group(words["group"])
    assert len(group) >= 2
    return yes_no(all(wanted in (thing.colour, thing.kind) for thing in group))


def compared(reader: Reader, words: dict[str, str]) -> str:
    many, others = len(reader.group(words["group"])), len(reader.group(words["others"]))
    if "more" not in words:
        return yes_no(many == others)
    return yes_no({"more": many > others, "fewer": many < others}[words["more"]])


MEANINGS: dict[str, Callable[[Reader, dict[str, str]], str]] = {
    "existence": lambda r, w: yes_no(bool(r.group(w["group"]))),
    "existence_relation": lambda r, w: yes_no(bool(r.beside(r.group(w["group"]), w["relation"], w["b"]))),
    "count": lambda r, w: COUNTS[len(r.group(w["group"]))],
    "count_relation": lambda r, w: COUNTS[len(r.beside(r.group(w["group"]), w["relation"], w["b"]))],
    "comparison": lambda r, w: yes_no(exceeds(RELATIONS[w["relation"]], r.certain(w["a"]), r.certain(w["b"]))),
    "comparison_which": which,
    "set_equality_same": lambda r, w: agree(r.group(w["group"]), w["attribute"]),
    "set_equality_are": all_are,
    "set_equality_as_many": compared,
    "set_equality_more": compared,
    "ordering_colour": lambda r, w: ordered(r, w, "colour"),
    "ordering_kind": lambda r, w: ordered(r, w, "kind"),
    "nearest_which": lambda r, w: named(r.nearest([r.certain(w["a"]), r.certain(w["b"])], r.certain(w["c"]))[0]),
    "same_other": other_alike,
    "same_pair": lambda r, w: agree([r.certain(w["a"]), r.certain(w["b"])], w["attribute"]),
    "same_extremes": lambda r, w: agree([r.certain(f"the {w[each]} {w['group']}") for each in ("first", "last")], w["attribute"]),
    **{name: partial(attribute_of, attribute=name) for name in ("colour", "kind", "size", "name")},
    **{f"bare_{name}": partial(attribute_of, attribute=name) for name in ("kind", "name")},
}


@cache
def patterns() -> list[tuple[str, re.Pattern[str]]]:
    """The wordings of all questions as patterns, each with the name of its block."""

    def field(match: re.Match[str]) -> str:
        name = "group" if match[1] in ("thing", "a_thing", "things") else match[1]
        return f"(?P<{name}>{FIELDS.get(name, '[^,:?.]+?')})"

    lines = [(name, line) for name in MEANINGS for line in load_blocks("compositional")[name].splitlines()]
    return [(name, re.compile(re.sub(r"\\{(\w+)\\}", field, re.escape(line)), re.IGNORECASE)) for name, line in lines]


def readings(scene: Scene, asked: VisualQuestion) -> dict[str, str]:
    """Every way to understand the question: the block of its wording, and the answer."""
    found = {}
    for name, pattern in patterns():
        if match := pattern.fullmatch(asked.question):
            words = {key: re.sub("^The ", "the ", text) for key, text in match.groupdict().items()}
            with suppress(Unreadable):
                found[name] = MEANINGS[name](Reader(scene, may_miss=asked.family == "none"), words)
    return found
