"""Boxes and masks from annotation files: boxes slightly over the edge, and masks as polygons."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roi_agent.model.errors import BoxOutOfBounds, InvalidSetting, MaskInvalid
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.utils.messages import escaped

EDGE = 1  # pixels by which an annotation may exceed its image, as in COCO


def as_id(value: object) -> int | str | None:
    """Normalise an id for comparison: 7, 7.0 and "7" are the same.  None for anything that is not an id."""
    number = whole_number(value)
    return value if isinstance(value, str) and str(number) != value else number


def whole_number(value: object) -> int | None:
    """Return an integer, also from a float or a text, as in files made from tables or XML; otherwise None."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def is_fractions(values: object) -> bool:
    """Whether all four numbers of a box are within 0 ... 1: they are then fractions of the image, not pixels."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return False
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in values)


def annotated_box(values: object, *, format: str, size_wh: tuple[int, int]) -> Box:
    """Clip an annotated box to its image; it may exceed the edge by at most EDGE pixels.

    values: four numbers in pixels.  Errors: those of `Box.parse`.
    """
    try:
        return Box.parse(values, format=format, size_wh=size_wh)
    except BoxOutOfBounds as error:
        out_of_bounds = error
    if not isinstance(values, list | tuple):
        raise out_of_bounds
    corners = [value + EDGE for value in values[2:]] if format == "xyxy" else values[2:]
    shifted = [values[0] + EDGE, values[1] + EDGE, *corners]
    width, height = size_wh
    try:
        padded = Box.parse(shifted, format=format, size_wh=(width + 2 * EDGE, height + 2 * EDGE))
    except BoxOutOfBounds:
        raise out_of_bounds from None  # its message contains the box as given
    x1, y1, x2, y2 = (value - EDGE for value in padded.xyxy)
    return Box.parse([max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)], size_wh=size_wh)


def annotated_mask(segmentation: object, size_wh: tuple[int, int], box: Box | None = None) -> Mask:
    """Return a mask from COCO's run lengths or polygons, each a list x1, y1, x2, y2, ... in pixels.

    box: of the same annotation; the mask must overlap it.  Errors: MaskInvalid, InvalidSetting.
    """
    mask = _mask(segmentation, size_wh)
    if box is not None and not mask.intersects(box):
        raise MaskInvalid("the mask has no pixel in the box", do="check which of the two is wrong")
    return mask


def _mask(segmentation: object, size_wh: tuple[int, int]) -> Mask:
    if isinstance(segmentation, Mapping):
        mask = Mask.from_coco(segmentation)
        if mask.size_wh != tuple(size_wh):
            given, wanted = ("{} x {}".format(*size) for size in (mask.size_wh, size_wh))
            raise MaskInvalid(f"the mask is {given} pixels, and the image {wanted}", do="give a mask of the image's size")
        return mask
    inside = np.zeros((size_wh[1], size_wh[0]), bool)
    if not isinstance(segmentation, list):
        raise InvalidSetting(f"a segmentation is {escaped(segmentation)}", do="give polygons, or run lengths as COCO has them")
    for polygon in segmentation:
        if not isinstance(polygon, list) or not _is_polygon(polygon):
            raise InvalidSetting(f"a polygon is {escaped(polygon)}", do="give at least three points: x1, y1, x2, y2, x3, y3")
        inside |= _rasterised(np.array(polygon, np.float64).reshape(-1, 2), size_wh)
    return Mask.from_array(inside)


def _rasterised(corners: NDArray[np.float64], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie in a polygon, (H, W), by the even-odd rule.

    corners: (K, 2), x and y in pixels.
    """
    width, height = size_wh
    inside, centres = np.zeros((height, width), bool), np.arange(width) + 0.5
    for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        (x1, y1), (x2, y2) = (one, other) if one[1] <= other[1] else (other, one)
        top, bottom = max(0, ceil(y1 - 0.5)), min(height, ceil(y2 - 0.5))
        if top < bottom:
            crossings = x1 + (np.arange(top, bottom) + 0.5 - y1) * ((x2 - x1) / (y2 - y1))
            inside[top:bottom] ^= crossings[:, None] <= centres
    return inside


def _is_polygon(values: list[Any]) -> bool:
    return (
        len(values) >= 6 and len(values) % 2 == 0 and all(isinstance(value, int | float) and abs(value) < 1e9 for value in values)
    )
