"""How much of what was generated about rendered scenes is true.

The truth comes from the scene alone: regions are matched to its things by IoU, and questions, answers and reasons are read again
by their words. What they were written from plays no part.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from roi_agent.generation.claims import EXTREMES
from roi_agent.model.data.english import plural, with_article
from roi_agent.model.data.record import Record
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.world.relations import area, centre, gap
from roi_agent.model.toy.world.scenes import Scene, Thing
from roi_agent.prompts import load_blocks

_SAME = 0.5  # IoU from which a region is a thing of the scene

Words = Mapping[str, str]
Things = Sequence[Thing]
Measure = Callable[[Thing], float]


def is_true(record: Record, scene: Scene) -> bool:
    """Whether every answer of a record is right; false where a region is no thing of the scene, or a turn cannot be read."""
    things = {region.name: _thing(region.box.normalised(record.size_wh), scene) for region in record.regions}
    return all(_right(turn.question, turn.answer, things) for turn in record.turns)


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the 95 % interval of Wilson (1927)."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """The share itself, 0 of none."""
        return self.right / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, with 95 % confidence."""
        if not self.total:
            return 0.0, 1.0
        z, n, share = 1.96, self.total, self.value
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({100 * low:.1f} to {100 * high:.1f}, {self.right} of {self.total})"


def _thing(box: tuple[float, float, float, float], scene: Scene) -> Thing | None:
    best = max(scene.things, key=lambda thing: _iou(box, thing.box))
    return best if _iou(box, best.box) >= _SAME else None


def _iou(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    across, along = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    shared = max(across, 0.0) * max(along, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def _right(question: str, answer: str, things: Mapping[str, Thing | None]) -> bool:
    """Whether the first reading of the question that fits its words gives this answer."""
    if question in load_blocks("generation")["why"].splitlines():
        return any(_holds(block, match.groupdict(), things) for block, match in _read(answer, _REASONS))
    for block, match in _read(question, _QUESTIONS):
        words = match.groupdict()
        named = _named(" ".join(words[name] for name in ("a", "b", "all") if name in words)) or list(things)
        asked = [things.get(name) for name in named]
        if any(each is None for each in asked):
            return False
        found = [each for each in asked if each]
        right = _QUESTIONS[block](found, words)
        return answer == right if isinstance(right, str) else _named(answer) == [named[right]]
    return False


def _holds(block: str, words: Words, things: Mapping[str, Thing | None]) -> bool:
    found = [things.get(name) for name in _named(" ".join(words[name] for name in ("a", "b", "all") if name in words))]
    there = [each for each in found if each]
    return len(there) == len(found) and _REASONS[block](there, words)


def _named(text: str) -> list[str]:
    return re.findall(r"<(region[0-9]+)>", text)


def _read(text: str, meanings: Mapping[str, object]) -> list[tuple[str, re.Match[str]]]:
    matches = ((block, pattern.fullmatch(text)) for block, pattern in _patterns() if block in meanings)
    return [(block, match) for block, match in matches if match]


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Every wording as a pattern, in the order of the meanings, the narrow ones first."""
    one = "<region[0-9]+>"
    fields = {"a": one, "b": one, "all": rf"{one}(?:, {one})*(?: and {one})?"}

    def field(block: str, name: str) -> str:
        relations = {"superlative": "|".join(EXTREMES), "reason_extreme": "|".join(EXTREMES)}
        relation = relations.get(block, "(?:to the |at the )?(?:left of|right of)|above|below|larger than|smaller than")
        relation = "larger|smaller" if block in ("larger", "which_larger") else relation
        return f"(?P<{name}>{fields.get(name, relation if name == 'relation' else '[^<>]+?')})"

    def pattern(block: str, line: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\{(\w+)\\}", lambda match: field(block, match[1]), re.escape(line)))

    blocks = load_blocks("generation")
    return [(block, pattern(block, line)) for block in (*_QUESTIONS, *_REASONS) for line in blocks[block].splitlines()]


# ---------------------------------------------------------------- what words mean: an answer, or which of the regions


def _is(thing: Thing, words: str) -> bool:
    """Whether a thing is "red", "a star", "stars" or "a red star"."""
    said = words.removeprefix("a ").removeprefix("an ")
    fitting = {thing.colour, thing.kind, plural(thing.kind), f"{thing.colour} {thing.kind}", thing.name}
    return said in fitting


def _relation(a: Thing, b: Thing, relation: str) -> bool:
    measure, sign = _MEASURES[relation.removeprefix("to the ").removeprefix("at the ").removesuffix(" than")]
    return sign * (measure(a) - measure(b)) > 0


def _place(thing: Thing) -> str:
    x, y = (min(int(3 * value), 2) for value in centre(thing))
    return " ".join(each for each in (("top", "", "bottom")[y], ("left", "", "right")[x]) if each) or "centre"


def _one_of(things: Things, words: Words) -> str | int:
    fits = [index for index, thing in enumerate(things) if _is(thing, words["thing"])]
    return fits[0] if len(fits) == 1 else "several of them" if fits else "none of them"


def _extreme(things: Things, relation: str) -> int:
    measure, sign = _MEASURES[relation]
    return max(range(len(things)), key=lambda index: sign * measure(things[index]))


def _shared(things: Things, _: Words) -> str:
    colours, kinds = {each.colour for each in things}, {each.kind for each in things}
    shared = [f"the {what} {next(iter(found))}" for what, found in (("colour", colours), ("kind", kinds)) if len(found) == 1]
    return " and ".join(shared) or "nothing"


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


_MEASURES: dict[str, tuple[Measure, int]] = {
    **{name: (lambda thing: centre(thing)[0], -1) for name in ("left of", "leftmost")},
    **{name: (lambda thing: centre(thing)[0], 1) for name in ("right of", "rightmost")},
    **{name: (lambda thing: centre(thing)[1], -1) for name in ("above", "topmost")},
    **{name: (lambda thing: centre(thing)[1], 1) for name in ("below", "lowest")},
    **{name: (area, 1) for name in ("larger", "largest")},
    **{name: (area, -1) for name in ("smaller", "smallest")},
}
_QUESTIONS: dict[str, Callable[[Things, Words], str | int]] = {
    "colour": lambda t, w: t[0].colour,
    "kind": lambda t, w: t[0].kind,
    "name": lambda t, w: with_article(t[0].name),
    "size": lambda t, w: t[0].size,
    "place": lambda t, w: _place(t[0]),
    "side": lambda t, w: "left" if _relation(t[0], t[1], "left of") else "right",
    "height": lambda t, w: "above" if _relation(t[0], t[1], "above") else "below",
    "larger": lambda t, w: _yes_no(_relation(t[0], t[1], w["relation"])),
    "which_larger": lambda t, w: 0 if _relation(t[0], t[1], w["relation"]) else 1,
    "same_colour": lambda t, w: _yes_no(t[0].colour == t[1].colour),
    "same_kind": lambda t, w: _yes_no(t[0].kind == t[1].kind),
    "touching": lambda t, w: _yes_no(gap(t[0], t[1]) < 0),
    "relation": lambda t, w: _yes_no(_relation(t[0], t[1], w["relation"])),
    "superlative": lambda t, w: _extreme(t, w["relation"]),
    "shared": _shared,
    "count": lambda t, w: COUNTS[sum(_is(each, w["things"]) for each in t)],
    "which_one": _one_of,
    "presence": lambda t, w: _yes_no(_is(t[0], w["thing"])),
}
_REASONS: dict[str, Callable[[Things, Words], bool]] = {
    "reason_extreme": lambda t, w: True,  # the answer before it says the same, and is read
    "reason_relation": lambda t, w: _relation(t[0], t[1], w["relation"]),
    "reason_touching": lambda t, w: gap(t[0], t[1]) < 0,
    "reason_apart": lambda t, w: gap(t[0], t[1]) > 0,
    "reason_both": lambda t, w: _is(t[0], w["what"]) and _is(t[1], w["other"]),
    "reason_is": lambda t, w: _is(t[0], w["what"]),
    "reason_are": lambda t, w: all(_is(each, w["what"]) for each in t),
    "reason_none": lambda t, w: True,  # likewise
}
