"""The slots of sentence patterns, which parse words as a noun, an attribute, an order, or a predicate."""

from collections.abc import Callable
from typing import Any

from roi_agent.planner.language import COLOURS, SIZES
from roi_agent.planner.nouns import noun, nouns, place, predicates, superlative
from roi_agent.planner.patterns import Words
from roi_agent.planner.query import Extreme

_ATTRIBUTES = {
    "colour": "colour", "colours": "colour", "kind": "kind", "kinds": "kind", "type": "kind", "types": "kind", "sort": "kind",
    "sorts": "kind", "size": "size", "sizes": "size", "name": "name", "names": "name", "position": "place", "place": "place",
    "location": "place", "places": "place", "positions": "place",
}  # fmt: skip
_COMPARATIVES = {
    "larger": "largest to smallest", "bigger": "largest to smallest", "smaller": "smallest to largest",
    "further left": "left to right", "farther left": "left to right", "further to the left": "left to right",
    "farther to the left": "left to right", "more to the left": "left to right",
    "further right": "right to left", "farther right": "right to left", "further to the right": "right to left",
    "farther to the right": "right to left", "more to the right": "right to left",
    "higher": "top to bottom", "higher up": "top to bottom", "further up": "top to bottom", "lower": "bottom to top",
    "lower down": "bottom to top", "further down": "bottom to top",
}  # fmt: skip
_ORDERS = {
    "left to right": "left to right", "right to left": "right to left", "top to bottom": "top to bottom",
    "bottom to top": "bottom to top", "smallest to largest": "smallest to largest", "largest to smallest": "largest to smallest",
    "leftmost to rightmost": "left to right", "rightmost to leftmost": "right to left", "small to large": "smallest to largest",
    "large to small": "largest to smallest", "highest to lowest": "top to bottom", "lowest to highest": "bottom to top",
    "topmost to bottommost": "top to bottom", "biggest to smallest": "largest to smallest",
    "smallest to biggest": "smallest to largest", "size": "smallest to largest", "topmost to lowest": "top to bottom",
    "lowest to topmost": "bottom to top", "bottommost to topmost": "bottom to top",
}  # fmt: skip


def _attribute(words: Words) -> str | None:
    if words[1:] in (("of", "thing"), ("of", "object"), ("of", "things"), ("of", "objects")):
        words = words[:1]
    return _ATTRIBUTES.get(words[0]) if len(words) == 1 else None


def _comparative(words: Words) -> Extreme | None:
    text = " ".join(words)
    if text in _COMPARATIVES:
        return Extreme(_COMPARATIVES[text])
    if words[0] in ("nearer", "closer") and words[1:2] == ("to",) and (to := noun(words[2:])):
        return Extreme("nearest first", 1, to)
    return superlative(words)


def _order(words: Words) -> str | None:
    kept = [word for word in words if word not in ("from", "the", "by", "in", "order", "ordered", "sorted", ",", "of", "their")]
    return _ORDERS.get(" ".join(kept))


def _adjective(words: Words) -> str | None:
    """Parse an option: a colour, a size, or a thing with its article."""
    if len(words) == 1 and (words[0] in COLOURS or words[0] in SIZES):
        return words[0]
    found = noun(words) if words[0] in ("a", "an") else None
    return " ".join(words) if found and found.head and not found.plural else None


READERS: dict[str, Callable[[Words], Any]] = {
    "NP": noun,
    "NPS": nouns,
    "WHERE": place,
    "PRED": predicates,
    "ATTR": _attribute,
    "MORE": _comparative,
    "ORDER": _order,
    "ADJ": _adjective,
}
