"""Things in an image: regions with what was learned about them, and the matching of finds that show one thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roi_agent.planner.language import Description
from roi_agent.planner.query import Noun

SAME_THING = 0.6  # IoU from which two finds are one thing
WITHIN = 0.75  # share of the smaller box in the other from which two similar finds are one thing


class Missing(Exception):
    """A thing that a question presupposes and that was not found."""

    def __init__(self, noun: Noun) -> None:
        super().__init__(noun.words)
        self.noun = noun


@dataclass(slots=True)
class Thing:
    """A region and what was learned about it.

    box: pixel xyxy.  labels: of the detector, in lower case.  score: the best.
    description: of the region model.  facts: attribute -> value.
    """

    handle: str
    image: str
    box: tuple[float, float, float, float]
    labels: set[str]
    score: float | None = None
    description: str = ""
    facts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, region: Mapping[str, Any]) -> "Thing":
        x1, y1, x2, y2 = (float(value) for value in region["box"])
        label = " ".join(str(region.get("label") or "").lower().split())
        image, score = region.get("image") or "image1", region.get("score")
        return cls(region["name"], image, (x1, y1, x2, y2), {label} if label else set(), score)

    def is_labelled(self, words: str) -> bool:
        """Whether a label contains these words; a thing without labels may be anything."""
        return not self.labels or any(words in label for label in self.labels)

    def is_labelled_with(self, value: str) -> bool:
        """Whether a label contains a whole word or words, such as a colour."""
        return any(f" {value} " in f" {label} " for label in self.labels)

    @property
    def short(self) -> str:
        """Colour and kind, as in "red star"; otherwise a label or the handle."""
        known = Description(self.facts.get("kind"), self.facts.get("colour")).short
        return known or min(self.labels, default=self.handle)


def has(thing: Thing, attribute: str, value: str) -> bool:
    """Whether an attribute of a thing has this value."""
    return is_kind(thing, value) if attribute == "kind" else thing.facts.get(attribute) == value


def is_kind(thing: Thing, head: str) -> bool:
    """Whether the region model's description has all words of a noun; "" matches any thing."""
    return not head or set(head.split()) <= set(thing.facts.get("kind", "").split())


def without_nested(things: list[Thing]) -> list[Thing]:
    """Remove finds within another one of the same look, which are parts of it."""
    kept: list[Thing] = []
    for thing in things:
        alike = [other for other in kept if other.image == thing.image and other.short == thing.short]
        if all(overlap(thing, other)[1] < WITHIN for other in alike):
            kept.append(thing)
    return kept


def overlap(one: Thing, other: Thing) -> tuple[float, float]:
    """Return the IoU of two boxes, and the share of the smaller one that is inside the other."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = one.box, other.box
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    a, b = (ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)
    return shared / (a + b - shared), shared / min(a, b)


def article(words: str) -> str:
    """Prefix words with "a" or "an"."""
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"
