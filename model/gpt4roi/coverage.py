"""Mask coverage of RoIAlign bins: the weights of mask pooling."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region

_THINNEST = 1e-6  # pixels: the area of a thinner box is lost to rounding, so it counts as covered


def mask_coverage(regions: Sequence[Region], bins: int) -> Tensor:
    """The share of each bin under the mask, (N, bins, bins) float32 in [0, 1], rows top to bottom; ones without a mask.

    The bins are RoIAlign's: equal parts of each box. Areas are exact; a mask that fills its box gives exactly ones.
    """
    whole = np.ones((bins, bins))
    shares = [whole if region.mask is None else _covered(region.mask, region.box, bins) for region in regions]
    return torch.from_numpy(np.array(shares).reshape(-1, bins, bins)).float()


def _covered(mask: Mask, box: Box, bins: int) -> NDArray[np.float64]:
    """The coverage of one region, (bins, bins)."""
    if min(box.width, box.height) < _THINNEST:
        return np.ones((bins, bins))
    left, top = int(box.x1), int(box.y1)
    pixels = mask.to_array()[top : int(np.ceil(box.y2)), left : int(np.ceil(box.x2))]
    down, across = (
        _overlaps(box.y1 - top, box.height, pixels.shape[0], bins),
        _overlaps(box.x1 - left, box.width, pixels.shape[1], bins),
    )
    rows = []
    for weights in down:  # one row of bins at a time: all pixels as float64 would take eight times the mask's memory
        (met,) = np.nonzero(weights)
        rows.append(weights[met] @ pixels[met[0] : met[-1] + 1])
    area = box.width * box.height / bins**2
    shares: NDArray[np.float64] = np.clip(np.stack(rows) @ across.T / area, 0, 1)
    return shares


def _overlaps(start: float, length: float, pixels: int, bins: int) -> NDArray[np.float64]:
    """The overlap of each pixel with each bin along one axis, in pixels: (bins, pixels)."""
    edges = start + np.linspace(0, length, bins + 1)[:, None]
    places = np.arange(pixels)
    lengths: NDArray[np.float64] = np.clip(np.minimum(edges[1:], places + 1) - np.maximum(edges[:-1], places), 0, None)
    return lengths
