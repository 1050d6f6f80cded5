"""Things of an image as the planner knows them: a region and what was learned about it, and when two finds are one thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roi_agent.planner.language import Description
from roi_agent.planner.query import Noun

SAME_THING = 0.6  # IoU of two finds from which they are one thing
WITHIN = 0.75  # share of the smaller of two boxes that lies in the other, from which two alike finds are one thing


class Missing(Exception):
    """A thing that a question takes for granted and that was not found."""

    def __init__(self, noun: Noun) -> None:
        super().__init__(noun.words)
        self.noun = noun


@dataclass(slots=True)
class Thing:
    """A region and what was learned about it.

    box: pixel xyxy.  labels: what the detector found it as, in lower case.  score: the best.
    said: the region model's description.  facts: attribute -> value.
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
        """Whether the detector found it under these words; one without labels may be anything."""
        return not self.labels or any(words in label for label in self.labels)

    def is_labelled_with(self, value: str) -> bool:
        """Whether a label holds this word, such as a colour, or words."""
        return any(f" {value} " in f" {label} " for label in self.labels)

    @property
    def short(self) -> str:
        """Colour and kind, as in "red star"; its label or its handle where nothing better is known."""
        known = Description(self.facts.get("kind"), self.facts.get("colour")).short
        return known or min(self.labels, default=self.handle)


def has(thing: Thing, attribute: str, value: str) -> bool:
    """Whether what is known of a thing has this value."""
    return is_kind(thing, value) if attribute == "kind" else thing.facts.get(attribute) == value


def is_kind(thing: Thing, head: str) -> bool:
    """Whether the region model described the thing with all words of a noun; "" is any thing."""
    return not head or set(head.split()) <= set(thing.facts.get("kind", "").split())


def without_nested(things: list[Thing]) -> list[Thing]:
    """Without finds that lie within another of the same look, which are parts of it."""
    kept: list[Thing] = []
    for thing in things:
        alike = [other for other in kept if other.image == thing.image and other.short == thing.short]
        if all(overlap(thing, other)[1] < WITHIN for other in alike):
            kept.append(thing)
    return kept


def overlap(one: Thing, other: Thing) -> tuple[float, float]:
    """IoU of two boxes, and the share of the smaller one that lies in the other."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = one.box, other.box
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    a, b = (ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)
    return shared / (a + b - shared), shared / min(a, b)


def article(words: str) -> str:
    """The words with "a" or "an" in front."""
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"
