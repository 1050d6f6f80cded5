"""Geometry of regions, always computed and never asked of a model.

Directions and distances compare boxes. Area, overlap and IoU count mask pixels if every region involved has a mask.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped

_TOLERANCE = 0.5  # pixels; smaller differences do not count


@dataclass(frozen=True, slots=True)
class Relation:
    """The spatial relation of one region to another; lengths in pixels.

    left_of, right_of, above, below: compare the centres, with a tolerance of half a pixel.
    inside, contains: whether the first box is within the second, or vice versa; both are true for equal boxes.
    overlap: shared area divided by that of the smaller region.  iou: shared area divided by the area of the union.
    gap: distance of the nearest edges, 0 if the boxes touch or overlap.  distance: between the centres.
    area_ratio: the first area divided by the second.  by_masks: whether areas count mask pixels instead of boxes.
    """

    first: str
    second: str
    left_of: bool
    right_of: bool
    above: bool
    below: bool
    inside: bool
    contains: bool
    overlap: float
    iou: float
    gap: float
    distance: float
    area_ratio: float
    by_masks: bool

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)

    def sentence(self) -> str:
        """Summarize, for example: region1 is left of and above region2; they do not overlap, 12 px lie between them; ..."""
        named = {"left of": self.left_of, "right of": self.right_of, "above": self.above, "below": self.below}
        directions = [name for name, holds in named.items() if holds]
        if self.inside:
            directions.append("inside")
        elif self.contains:
            directions.append("around")
        where = " and ".join(directions) or "at the same place as"
        shared = f"they overlap by {self.overlap:.0%} of the smaller one (IoU {self.iou:.2f})"
        apart = f"they do not overlap, {self.gap:.0f} px lie between them"
        ratio = max(self.area_ratio, 1 / self.area_ratio)
        size = "as large as" if ratio < 1.01 else f"{ratio:.1f} times as large as"
        first, second = (self.first, self.second) if self.area_ratio >= 1 else (self.second, self.first)
        return f"{self.first} is {where} {self.second}; {shared if self.overlap else apart}; {first} is {size} {second}"


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of a region: width, height and area in pixels, area as a share of the image, centre in pixels."""

    name: str
    width: float
    height: float
    area: float
    share: float
    centre_xy: tuple[float, float]


def relate(first: Region, second: Region) -> Relation:
    """Measure the relation of the first region to the second.  Error: InvalidSetting for regions of different images."""
    _same_image([first, second])
    a, b = first.box, second.box
    right, down = b.centre[0] - a.centre[0], b.centre[1] - a.centre[1]
    across = max(0.0, a.x1 - b.x2, b.x1 - a.x2)
    along = max(0.0, a.y1 - b.y2, b.y1 - a.y2)
    shared = _shared_area(first, second)
    one, other = area(first, beside=second), area(second, beside=first)
    return Relation(
        first=first.name,
        second=second.name,
        left_of=right > _TOLERANCE,
        right_of=right < -_TOLERANCE,
        above=down > _TOLERANCE,
        below=down < -_TOLERANCE,
        inside=_within(first, second),
        contains=_within(second, first),
        overlap=shared / min(one, other),
        iou=shared / (one + other - shared),
        gap=math.hypot(across, along),
        distance=math.hypot(right, down),
        area_ratio=one / other,
        by_masks=_by_masks(first, second),
    )


def extent(region: Region, size_wh: tuple[int, int]) -> Extent:
    """Measure a region in an image of size_wh pixels."""
    pixels = area(region)
    share = pixels / (size_wh[0] * size_wh[1])
    return Extent(region.name, region.box.width, region.box.height, pixels, share, region.box.centre)


ORDERS: dict[str, tuple[Callable[[Region], float], bool]] = {
    "left to right": (lambda region: region.box.centre[0], False),
    "right to left": (lambda region: region.box.centre[0], True),
    "top to bottom": (lambda region: region.box.centre[1], False),
    "bottom to top": (lambda region: region.box.centre[1], True),
    "smallest to largest": (lambda region: area(region), False),
    "largest to smallest": (lambda region: area(region), True),
}


def in_order(regions: Sequence[Region], order: str) -> tuple[Region, ...]:
    """Sort regions of one image by one of ORDERS; ties keep their order.  Error: InvalidSetting."""
    if order not in ORDERS:
        raise InvalidSetting(f"the order {escaped(order)} is unknown", do=f"use one of {', '.join(ORDERS)}")
    _same_image(regions)
    if "largest" in order and not all(region.mask for region in regions):
        # Areas of masks and of boxes are not comparable.
        return tuple(sorted(regions, key=lambda region: region.box.area, reverse=order.startswith("largest")))
    key, backwards = ORDERS[order]
    return tuple(sorted(regions, key=key, reverse=backwards))


NEARNESS = ("nearest first", "farthest first")


def nearest(region: Region, others: Sequence[Region]) -> tuple[Region, ...]:
    """Sort the other regions of the same image by distance of the centres, nearest first."""
    _same_image([region, *others])
    apart = [other for other in others if other.name != region.name]
    return tuple(sorted(apart, key=lambda other: math.dist(region.box.centre, other.box.centre)))


RELATIONS: dict[str, Callable[[Relation], bool]] = {
    "left of": lambda relation: relation.left_of,
    "right of": lambda relation: relation.right_of,
    "above": lambda relation: relation.above,
    "below": lambda relation: relation.below,
    "inside": lambda relation: relation.inside,
    "around": lambda relation: relation.contains,
    "touching": lambda relation: relation.overlap > 0 or relation.gap <= _TOLERANCE,
    "larger than": lambda relation: relation.area_ratio > 1,
    "smaller than": lambda relation: relation.area_ratio < 1,
}


def related(regions: Sequence[Region], relation: str, to: Region) -> tuple[Region, ...]:
    """Select the regions with one of RELATIONS to another region, which is never selected itself.  Error: InvalidSetting."""
    if relation not in RELATIONS:
        raise InvalidSetting(f"the relation {escaped(relation)} is unknown", do=f"use one of {', '.join(RELATIONS)}")
    holds = RELATIONS[relation]
    return tuple(region for region in regions if region.name != to.name and holds(relate(region, to)))


PLACES = ("left", "right", "top", "bottom", "middle", "top left", "top right", "bottom left", "bottom right")


def placed(regions: Sequence[Region], place: str, size_wh: tuple[int, int]) -> tuple[Region, ...]:
    """Select the regions whose centre is in a half or quarter of the image, or in the middle third of both sides.

    Error: InvalidSetting.
    """
    if place not in PLACES:
        raise InvalidSetting(f"the place {escaped(place)} is unknown", do=f"use one of {', '.join(PLACES)}")

    def lies_there(region: Region) -> bool:
        x, y = (value / size for value, size in zip(region.box.centre, size_wh, strict=True))
        if place == "middle":
            return max(abs(x - 0.5), abs(y - 0.5)) <= 1 / 6
        halves = {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5}
        return all(halves[side] for side in place.split())

    return tuple(region for region in regions if lies_there(region))


def count_by_label(regions: Sequence[Region]) -> dict[str, int]:
    """Count regions by label, the most frequent first; the key for those without a label is ""."""
    return dict(Counter(region.label or "" for region in regions).most_common())


def area(region: Region, *, beside: Region | None = None) -> float:
    """Return the area in pixels: of the mask if the region, and the one beside it, has one; else of the box."""
    others = [region, beside] if beside else [region]
    return float(region.mask.area) if region.mask and all(each.mask for each in others) else region.box.area


def _shared_area(first: Region, second: Region) -> float:
    if first.mask and second.mask:
        return float((first.mask.to_array() & second.mask.to_array()).sum())
    a, b = first.box, second.box
    width, height = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return max(width, 0.0) * max(height, 0.0)


def _within(inner: Region, outer: Region) -> bool:
    a, b = inner.box, outer.box
    return a.x1 >= b.x1 - _TOLERANCE and a.y1 >= b.y1 - _TOLERANCE and a.x2 <= b.x2 + _TOLERANCE and a.y2 <= b.y2 + _TOLERANCE


def _by_masks(first: Region, second: Region) -> bool:
    return first.mask is not None and second.mask is not None


def _same_image(regions: Sequence[Region]) -> None:
    images = {region.image for region in regions}
    if len(images) > 1:
        places = ", ".join(f"{region.name} is in {region.image}" for region in regions[:5])
        raise InvalidSetting(f"regions of several images cannot be measured together: {places}", do="give regions of one image")
