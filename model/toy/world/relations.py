"""Geometry of the things of a scene, in fractions of the image's side."""

from roi_agent.model.toy.world.scenes import Thing

PLACE_MARGIN = 0.03  # a thing closer to the border between two thirds has no unambiguous place


def place(thing: Thing) -> str | None:
    """Return the ninth of the image that contains the thing's centre, or None near a border."""
    x, y = centre(thing)
    if any(abs(value - border) < PLACE_MARGIN for value in (x, y) for border in (1 / 3, 2 / 3)):
        return None
    row, column = ("top", "", "bottom")[int(y * 3)], ("left", "", "right")[int(x * 3)]
    return f"{row} {column}".strip() or "centre"


def centre(thing: Thing) -> tuple[float, float]:
    """Return the centre of the thing's box, (x, y) in [0, 1]."""
    return (thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2


def area(thing: Thing) -> float:
    """Return the area of the thing's box, as a share of the image."""
    return (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1])


def gap(one: Thing, other: Thing) -> float:
    """Return the distance between two boxes along the axis that separates them most; negative if they overlap."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = one.box, other.box
    return max(ax1 - bx2, bx1 - ax2, ay1 - by2, by1 - ay2)
