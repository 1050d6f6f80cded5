"""Boxes and masks as annotators leave them."""

import math
from random import Random

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from roi_agent.model.errors import InvalidSetting, MaskInvalid, UserError
from roi_agent.model.geometry.annotations import annotated_box, annotated_mask
from roi_agent.model.geometry.boxes import Box

SIZE = (60, 40)

BOXES = {
    "inside": ([10, 5, 20, 15], "xyxy", (10, 5, 20, 15)),
    "whole": ([0, 0, 60, 40], "xyxy", (0, 0, 60, 40)),
    "a pixel over every edge": ([-1, -1, 61, 41], "xyxy", (0, 0, 60, 40)),
    "half a pixel over, as a size": ([-0.5, 0, 61, 40], "xywh", (0, 0, 60, 40)),
    "half a pixel over, about a centre": ([30, 20, 61, 40], "cxcywh", (0, 0, 60, 40)),
}


@pytest.mark.parametrize(("values", "format", "expected"), BOXES.values(), ids=BOXES)
def test_a_box_is_cut_at_the_edges_of_its_image(values: list[float], format: str, expected: tuple[float, ...]) -> None:
    assert annotated_box(values, format=format, size_wh=SIZE).xyxy == expected


@pytest.mark.parametrize("values", [[], [1], None, "box", [-1.01, 0, 5, 5], [0, 0, 61.01, 5], [5, 5, 5, 9], [60, 0, 60.9, 5]])
def test_a_box_that_is_none_or_lies_outside_is_a_coded_error(values: object) -> None:
    with pytest.raises(UserError):
        annotated_box(values, format="xyxy", size_wh=SIZE)


def test_a_rectangle_becomes_exactly_its_pixels() -> None:
    mask = annotated_mask([[10, 5, 30, 5, 30, 35, 10, 35]], SIZE)
    assert (mask.box.xyxy, mask.area) == ((10, 5, 30, 35), 600)


def test_small_polygons_are_those_of_pycocotools_but_for_some_pixels_at_the_edge() -> None:
    rng = Random(0)
    differing = area = grown = 0
    for _ in range(300):
        x, y, count = rng.uniform(10, 50), rng.uniform(10, 30), rng.randint(3, 12)
        radii = [(rng.uniform(3, 9), 2 * math.pi * index / count) for index in range(count)]
        polygon = [value for radius, angle in radii for value in (x + radius * math.cos(angle), y + radius * math.sin(angle))]
        theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 40, 60))).astype(bool)
        ours = annotated_mask([polygon], SIZE).to_array()
        differing += int((ours ^ theirs).sum())
        area += int(theirs.sum())
        grown += int(ours.sum()) - int(theirs.sum())
    assert differing / area < 0.03
    assert abs(grown) / area < 0.005


def test_a_part_outside_is_cut_off_and_parts_are_joined() -> None:
    mask = annotated_mask([[-5, -5, 5, -5, 5, 5, -5, 5], [50, 30, 70, 30, 70, 50, 50, 50]], SIZE).to_array()
    expected = np.zeros((40, 60), bool)
    expected[:5, :5] = expected[30:, 50:] = True
    assert np.array_equal(mask, expected)


WRONG = {
    "two points": ([[1, 2, 3, 4]], InvalidSetting),
    "an odd number": ([[1, 2, 3, 4, 5, 6, 7]], InvalidSetting),
    "not in a list": ([1, 2, 3, 4, 5, 6], InvalidSetting),
    "a text": ("polygon", InvalidSetting),
    "NaN": ([[1, 2, 3, float("nan"), 5, 6]], InvalidSetting),
    "no pixel's centre": ([[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]], MaskInvalid),
    "run lengths of another image": ({"size": [2, 2], "counts": [0, 4]}, MaskInvalid),
}


@pytest.mark.parametrize(("segmentation", "error"), WRONG.values(), ids=WRONG)
def test_a_wrong_mask_is_a_coded_error(segmentation: object, error: type[UserError]) -> None:
    with pytest.raises(error):
        annotated_mask(segmentation, SIZE)


def test_a_mask_off_its_box_is_refused() -> None:
    square = [[2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]]
    assert annotated_mask(square, (20, 20), Box(5, 5, 9, 9)).area == 16
    with pytest.raises(MaskInvalid, match="no pixel in the box"):
        annotated_mask(square, (20, 20), Box(10, 10, 19, 19))
