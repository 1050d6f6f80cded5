"""Boxes and masks as annotators leave them: a little over the edge, and masks as polygons."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from roi_agent.model.boxes import Box
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.masks import Mask
from roi_agent.model.shown import shown

EDGE = 1  # pixels that an annotation may reach over the edge of its image, as those of COCO do


def annotated_box(values: object, *, format: str, size_wh: tuple[int, int]) -> Box:
    """The part of a box that lies in its image; it may reach over the edge by EDGE pixels at most.

    values: four numbers in pixels.  Errors: those of `Box.parse`.
    """
    width, height = size_wh
    values = list(values) if isinstance(values, list | tuple) and len(values) == 4 else values
    if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
        corners = values[2:] if format != "xyxy" else [value + EDGE for value in values[2:]]
        values = [values[0] + EDGE, values[1] + EDGE, *corners]
    roomy = Box.parse(values, format=format, size_wh=(width + 2 * EDGE, height + 2 * EDGE))
    x1, y1, x2, y2 = (value - EDGE for value in roomy.xyxy)
    return Box.parse([max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)], size_wh=size_wh)


def annotated_mask(segmentation: object, size_wh: tuple[int, int]) -> Mask:
    """A mask from COCO's run lengths or polygons, each a list x1, y1, x2, y2, ... in pixels.

    Errors: MaskInvalid, InvalidSetting.
    """
    if isinstance(segmentation, Mapping):
        return Mask.from_coco(segmentation)
    canvas = Image.new("1", size_wh)
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation if isinstance(segmentation, list) else [None]:
        if not isinstance(polygon, list) or not _is_polygon(polygon):
            raise InvalidSetting(f"a polygon is {shown(polygon)}", do="give at least three points: x1, y1, x2, y2, x3, y3")
        # Pillow fills up to and with the pixels that a corner names; COCO's corners lie between pixels.
        draw.polygon([value - 0.5 for value in polygon], fill=1)
    return Mask.from_array(np.asarray(canvas))


def _is_polygon(values: list[Any]) -> bool:
    return (
        len(values) >= 6 and len(values) % 2 == 0 and all(isinstance(value, int | float) and abs(value) < 1e9 for value in values)
    )
