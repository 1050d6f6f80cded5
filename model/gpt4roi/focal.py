"""Focal crops: crops around small regions, at full resolution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region

_CONTEXT = 2.0  # the crop's side, as a multiple of the region's longer side
_LEAST = 1 / 8  # of the image's side: a smaller crop would show less context than any training image

Read = Callable[[Sequence[Image.Image]], Tensor]  # RGB images -> (M, 3, S, S), as the vision tower reads them


@dataclass(frozen=True, slots=True)
class FocalCrops:
    """Crops around the M small regions among the N of an image.

    pixels: (M, 3, S, S), normalised.  boxes: (M, 4), xyxy in [0, 1] of the crop.  regions: (M), indices into the N regions.
    """

    pixels: Tensor
    boxes: Tensor
    regions: Tensor


def focal_crops(image: Image.Image, regions: Sequence[Region], read: Read) -> FocalCrops | None:
    """Crop twice the size of each region smaller than half the image in both directions; None without such a region.

    A crop has the image's aspect ratio, so that resizing distorts both equally. Near an edge it is moved inwards.
    """
    windows = [(index, window) for index, region in enumerate(regions) if (window := _window(region.box, image.size))]
    if not windows:
        return None
    pixels = read([image.crop(window) for _, window in windows])
    boxes = [_within(regions[index].box, window) for index, window in windows]
    return FocalCrops(pixels, torch.tensor(boxes, dtype=torch.float32).clamp(0, 1), torch.tensor([index for index, _ in windows]))


def _window(box: Box, size_wh: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The crop of a box in whole pixels, xyxy; None for nearly the whole image."""
    width, height = size_wh
    share = max(_LEAST, _CONTEXT * max(box.width / width, box.height / height))
    if share >= 1:
        return None
    x1, x2 = _span(box.x1, box.x2, share * width, width)
    y1, y2 = _span(box.y1, box.y2, share * height, height)
    return (x1, y1, x2, y2) if (x2 - x1, y2 - y1) != (width, height) else None


def _span(low: float, high: float, length: float, side: int) -> tuple[int, int]:
    """A span in whole pixels of about this length, centred on low and high, within 0 to side; contains both."""
    start = min(max((low + high - length) / 2, 0), side - length)
    return int(np.floor(min(start, low))), int(np.ceil(max(start + length, high)))


def _within(box: Box, window: tuple[int, int, int, int]) -> list[float]:
    """The box relative to the window."""
    x1, y1, x2, y2 = window
    width, height = x2 - x1, y2 - y1
    return [(box.x1 - x1) / width, (box.y1 - y1) / height, (box.x2 - x1) / width, (box.y2 - y1) / height]
