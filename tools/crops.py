"""Conversions between boxes of an image and of its crops, in whole pixels."""

import math

from roi_agent.model.geometry.boxes import Box


def lies_in(box: Box, crop: Box | None) -> bool:
    """Whether a box lies entirely inside a crop of its image; None is the whole image."""
    return crop is None or (crop.x1 <= box.x1 and crop.y1 <= box.y1 and box.x2 <= crop.x2 and box.y2 <= crop.y2)


def moved(box: Box, crop: Box | None) -> Box:
    """Convert a box of a crop to pixels of the whole image."""
    return Box(box.x1 + crop.x1, box.y1 + crop.y1, box.x2 + crop.x1, box.y2 + crop.y1) if crop else box


def widened(box: Box, margin: float, size_wh: tuple[int, int]) -> Box:
    """Return the box with a margin, as a share of its longer side, rounded out to whole pixels inside the image."""
    width, height = size_wh
    more = margin * max(box.width, box.height)
    x1, y1 = max(0, math.floor(box.x1 - more)), max(0, math.floor(box.y1 - more))
    return Box(x1, y1, min(width, math.ceil(box.x2 + more)), min(height, math.ceil(box.y2 + more)))
