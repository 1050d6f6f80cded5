"""Regions with masks, made by hand or drawn by hypothesis."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region


def region(array: NDArray[np.bool_], box: Box | None = None) -> Region:
    mask = Mask.from_array(array)
    return Region("region1", box or mask.box, mask=mask)


def filled(size_wh: tuple[int, int], x1: int, y1: int, x2: int, y2: int) -> NDArray[np.bool_]:
    array = np.zeros(size_wh[::-1], bool)
    array[y1:y2, x1:x2] = True
    return array


@st.composite
def masked_regions(draw: st.DrawFn) -> Region:
    """A mask of any pixels of a small image, and a box of it, tight or any other that meets the mask."""
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    array = np.array(draw(st.lists(st.booleans(), min_size=width * height, max_size=width * height))).reshape(height, width)
    array[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    mask = Mask.from_array(array)
    if draw(st.booleans()):
        return Region("region1", mask.box, mask=mask)
    xs = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2)))
    ys = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2)))
    box = mask.box
    if xs[1] - xs[0] > 1e-3 and ys[1] - ys[0] > 1e-3 and mask.intersects(Box(xs[0], ys[0], xs[1], ys[1])):
        box = Box(xs[0], ys[0], xs[1], ys[1])
    return Region("region1", box, mask=mask)
