"""Geometry: every relation on hand-made boxes, masks before boxes, and laws that hold for all boxes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.tools.measure import ORDERS, area, count_by_label, extent, in_order, nearest, placed, relate, related


def region(number: int, *xyxy: float, label: str | None = None, image: str = "image1") -> Region:
    return Region(f"region{number}", Box(*xyxy), label=label, image=image)


BOXES = st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(1, 50), st.floats(1, 50)).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@pytest.mark.parametrize(
    "first,second,true",
    [
        ((0, 0, 10, 10), (20, 0, 30, 10), {"left_of"}),
        ((20, 0, 30, 10), (0, 0, 10, 10), {"right_of"}),
        ((0, 0, 10, 10), (0, 20, 10, 30), {"above"}),
        ((0, 20, 10, 30), (0, 0, 10, 10), {"below"}),
        ((0, 0, 10, 10), (20, 20, 30, 30), {"left_of", "above"}),
        ((4, 4, 6, 6), (0, 0, 10, 10), {"inside"}),
        ((0, 0, 10, 10), (4, 4, 6, 6), {"contains"}),
        ((0, 0, 10, 10), (0, 0, 10, 10), {"inside", "contains"}),
        ((0, 0, 10, 10), (0.3, 0.3, 10.3, 10.3), {"inside", "contains"}),  # the same, within rounding
        ((0, 0, 10, 10), (5, 0, 15, 10), {"left_of"}),
    ],
)
def test_directions_and_containment(first: tuple[float, ...], second: tuple[float, ...], true: set[str]) -> None:
    relation = relate(region(1, *first), region(2, *second)).to_dict()
    assert {name for name, value in relation.items() if value is True} == true


def test_overlap_gap_and_distance_in_pixels() -> None:
    apart = relate(region(1, 0, 0, 10, 10), region(2, 13, 14, 23, 24))
    assert (apart.overlap, apart.iou, apart.gap) == (0, 0, 5)
    assert apart.distance == pytest.approx(np.hypot(13, 14))
    half = relate(region(1, 0, 0, 10, 10), region(2, 5, 0, 15, 20))
    assert (half.overlap, half.gap, half.area_ratio) == (0.5, 0, 0.5)
    assert half.iou == pytest.approx(50 / 250)


def test_masks_count_where_both_have_one() -> None:
    upper = Mask.from_array(np.arange(10)[:, None] + np.arange(10) < 9)
    lower = Mask.from_array(np.arange(10)[:, None] + np.arange(10) > 9)
    one, other = (replace(region(i, 0, 0, 10, 10), mask=mask) for i, mask in ((1, upper), (2, lower)))
    assert relate(one, other).iou == 0 and relate(one, other).by_masks
    assert relate(one, replace(other, mask=None)).iou == 1
    assert (area(one), area(one, beside=replace(other, mask=None))) == (45, 100)
    assert extent(one, (20, 20)).share == 45 / 400


@given(BOXES, BOXES)
def test_relations_turn_round(a: Box, b: Box) -> None:
    there, back = relate(Region("region1", a), Region("region2", b)), relate(Region("region2", b), Region("region1", a))
    assert (there.left_of, there.above, there.inside) == (back.right_of, back.below, back.contains)
    assert (there.iou, there.gap, there.distance) == pytest.approx((back.iou, back.gap, back.distance))
    assert 0 <= there.iou <= there.overlap <= 1 + 1e-9
    assert there.overlap == 0 or there.gap == 0
    assert there.first in there.sentence() and there.second in there.sentence()


@pytest.mark.parametrize("order", ORDERS)
def test_orders_and_their_reverse(order: str) -> None:
    regions = [region(1, 5, 0, 8, 4), region(2, 0, 7, 9, 9), region(3, 3, 5, 4, 6)]
    expected = {
        "left to right": [3, 2, 1],
        "right to left": [1, 2, 3],
        "top to bottom": [1, 3, 2],
        "bottom to top": [2, 3, 1],
        "smallest to largest": [3, 1, 2],
        "largest to smallest": [2, 1, 3],
    }
    assert [each.name for each in in_order(regions, order)] == [f"region{i}" for i in expected[order]]
    assert in_order([], order) == ()


def test_sizes_are_compared_by_boxes_unless_all_have_masks() -> None:
    thin = replace(region(1, 0, 0, 10, 10), mask=Mask.from_array(np.eye(10, dtype=bool)))
    small = region(2, 0, 0, 5, 5)
    assert [each.name for each in in_order([thin, small], "largest to smallest")] == ["region1", "region2"]
    full = replace(small, mask=Mask.from_array(np.pad(np.ones((5, 5), bool), ((0, 5), (0, 5)))))
    assert [each.name for each in in_order([thin, full], "largest to smallest")] == ["region2", "region1"]


def test_the_nearest_and_the_counts() -> None:
    regions = [region(1, 0, 0, 2, 2, label="star"), region(2, 50, 0, 52, 2, label="star"), region(3, 9, 0, 11, 2)]
    assert [each.name for each in nearest(regions[0], regions)] == ["region3", "region2"]
    assert count_by_label(regions) == {"star": 2, "": 1}
    assert count_by_label([]) == {}


def test_sentences_say_it_in_words() -> None:
    assert relate(region(1, 0, 0, 10, 10), region(2, 20, 0, 30, 20)).sentence() == (
        "region1 is left of and above region2; they do not overlap, 10 px lie between them; "
        "region2 is 2.0 times as large as region1"
    )
    assert relate(region(1, 2, 2, 8, 8), region(2, 0, 0, 10, 10)).sentence() == (
        "region1 is inside region2; they overlap by 100% of the smaller one (IoU 0.36); region2 is 2.8 times as large as region1"
    )


def test_regions_of_two_images_cannot_be_compared() -> None:
    with pytest.raises(InvalidSetting, match="region2 is in image2"):
        relate(region(1, 0, 0, 1, 1), region(2, 0, 0, 1, 1, image="image2"))
    with pytest.raises(InvalidSetting, match="the order 'upwards' is unknown"):
        in_order([], "upwards")


@pytest.mark.parametrize(
    "relation,names",
    [
        ("left of", ["region2"]),
        ("right of", ["region3"]),
        ("above", []),
        ("below", ["region3"]),
        ("inside", ["region2"]),
        ("around", []),
        ("touching", ["region2", "region3"]),
        ("larger than", []),
        ("smaller than", ["region2", "region3"]),
    ],
)
def test_regions_in_a_relation_to_another(relation: str, names: list[str]) -> None:
    middle = region(1, 20, 20, 60, 60)
    others = [middle, region(2, 20, 30, 40, 50), region(3, 60, 50, 90, 70)]
    assert [each.name for each in related(others, relation, middle)] == names


@pytest.mark.parametrize(
    "place,names",
    [
        ("left", ["region1", "region2"]),
        ("top right", ["region3"]),
        ("bottom", ["region2"]),
        ("middle", ["region4"]),
        ("bottom right", []),
    ],
)
def test_regions_in_a_part_of_the_image(place: str, names: list[str]) -> None:
    regions = [region(1, 0, 0, 10, 10), region(2, 0, 80, 10, 100), region(3, 80, 0, 100, 20), region(4, 40, 40, 60, 60)]
    assert [each.name for each in placed(regions, place, (100, 100))] == names


def test_relations_and_places_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="the relation 'beside' is unknown; use one of left of"):
        related([], "beside", region(1, 0, 0, 1, 1))
    with pytest.raises(InvalidSetting, match="the place 'upstairs' is unknown; use one of left"):
        placed([], "upstairs", (9, 9))
