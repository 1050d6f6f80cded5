"""Spatial relations of regions, computed from their boxes and confirmed only if they are clear."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from roi_agent.generation.claims import EXTREMES, PLACE, RELATIONS, Claim
from roi_agent.model.geometry.regions import Region
from roi_agent.tools.measure import RELATIONS as MEASURES
from roi_agent.tools.measure import Relation, in_order, relate

_SHARED = 0.04  # minimum overlap of two touching boxes, as a fraction of the smaller one


@dataclass(frozen=True)
class Layout:
    """The regions of one image as boxes: questions show boxes, so masks are ignored.

    size_wh: the image in pixels.  apart: minimum distance of two centres or edges, as a fraction of the longer side.
    ratio: minimum ratio of two areas.
    """

    regions: tuple[Region, ...]
    size_wh: tuple[int, int]
    apart: float
    ratio: float

    @cached_property
    def _boxes(self) -> dict[str, Region]:
        return {region.name: replace(region, mask=None) for region in self.regions}

    def relation(self, first: str, second: str) -> Relation:
        """Return all measurements of two regions."""
        return relate(self._boxes[first], self._boxes[second])

    def holds(self, about: str, first: str, second: str) -> bool:
        """Whether one of RELATIONS holds, by any margin."""
        return MEASURES[about](self.relation(first, second))

    def ordered(self, extreme: str, names: Sequence[str]) -> list[str]:
        """Return the regions in the order of one of EXTREMES, which comes first."""
        return [region.name for region in in_order([self._boxes[name] for name in names], EXTREMES[extreme])]

    def place(self, name: str) -> str | None:
        """Return the part of the image, in thirds, that contains a region's centre; None near a border between parts."""
        (x, y), (width, height) = self._boxes[name].box.centre, self.size_wh
        across, down = x / width, y / height
        if any(abs(value - border) < self.apart for value in (across, down) for border in (1 / 3, 2 / 3)):
            return None
        row, column = ("top", "", "bottom")[min(int(down * 3), 2)], ("left", "", "right")[min(int(across * 3), 2)]
        return f"{row} {column}".strip() or "centre"

    def confirms(self, claim: Claim) -> bool | None:
        """Whether a claim about PLACE, RELATIONS or EXTREMES is true; None if it is too close to call."""
        if claim.about == PLACE:
            found_place = self.place(claim.regions[0])
            return None if found_place is None else (found_place == claim.value.strip().lower()) == claim.holds
        if claim.about in RELATIONS:
            first, second = claim.regions
            found = self._clearly(claim.about, first, second)
            return None if found is None else found == claim.holds
        top, *others = claim.regions
        relation = {"leftmost": "left of", "rightmost": "right of", "topmost": "above", "lowest": "below"}
        by = relation.get(claim.about, "larger than" if claim.about == "largest" else "smaller than")
        found_all = [self._clearly(by, top, other) for other in others]
        if any(each is False for each in found_all):
            return not claim.holds
        return None if None in found_all else claim.holds

    def evidence(self, claim: Claim) -> str:
        """Return the measurement in words."""
        if claim.about == PLACE:
            (x, y), (width, height) = self._boxes[claim.regions[0]].box.centre, self.size_wh
            return f"the centre of {claim.regions[0]} is at {x / width:.0%} of the width and {y / height:.0%} of the height"
        if claim.about in RELATIONS:
            return self.relation(*claim.regions).sentence()
        return f"{EXTREMES[claim.about]}: {', '.join(self.ordered(claim.about, claim.regions))}"

    def _clearly(self, about: str, first: str, second: str) -> bool | None:
        found, apart = self.relation(first, second), self.apart * max(self.size_wh)
        if about == "touching":
            return True if found.overlap >= _SHARED else False if found.gap >= apart else None
        if about in ("larger than", "smaller than"):
            clear = max(found.area_ratio, 1 / found.area_ratio) >= self.ratio
        else:
            a, b = self._boxes[first].box.centre, self._boxes[second].box.centre
            axis = 0 if about in ("left of", "right of") else 1
            clear = abs(a[axis] - b[axis]) >= apart
        return MEASURES[about](found) if clear else None
