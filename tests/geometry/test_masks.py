"""Masks: COCO's run lengths, read and written as pycocotools does, and refused where they lie."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from roi_agent.model.errors import MaskInvalid, RoiAgentError
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region, parse_regions

SOME = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)).filter(lambda array: bool(array.any()))
RING = np.array([[0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]], dtype=bool)


@given(SOME)
def test_masks_equal_those_of_pycocotools(array: NDArray[np.bool_]) -> None:
    oracle = coco.encode(np.asfortranarray(array.astype(np.uint8)))
    mask = Mask.from_array(array)
    assert mask.to_coco() == {"size": oracle["size"], "counts": oracle["counts"].decode()}
    assert mask.area == coco.area(oracle)
    x, y, width, height = coco.toBbox(oracle).tolist()
    assert mask.box.xywh == (x, y, width, height)


@given(SOME)
def test_every_form_reads_back_to_the_same_mask(array: NDArray[np.bool_]) -> None:
    mask = Mask.from_array(array)
    assert np.array_equal(mask.to_array(), array)
    assert Mask.from_coco(mask.to_coco()) == mask
    assert Mask.from_coco({"size": list(array.shape), "counts": list(mask.runs)}) == mask
    assert Mask.from_array(array.astype(np.uint8) * 255) == mask
    assert Mask.from_array(torch.from_numpy(array)) == mask


def test_long_runs_of_a_large_image_keep_their_length() -> None:
    array = np.zeros((3000, 4000), dtype=bool)
    array[1, 2], array[2999, 3999] = True, True
    oracle = coco.encode(np.asfortranarray(array.astype(np.uint8)))
    assert Mask.from_array(array).to_coco()["counts"] == oracle["counts"].decode()
    assert Mask.from_coco(oracle) == Mask.from_array(array)


def test_a_mask_of_a_crop_is_placed_in_its_image() -> None:
    pasted = Mask.from_array(RING).pasted((5, 2), (20, 10))
    assert pasted.size_wh == (20, 10)
    assert np.array_equal(pasted.to_array()[2:5, 5:9], RING)
    assert pasted.area == RING.sum()
    assert pasted.box.xyxy == (6, 2, 9, 5)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 4), bool), np.full((3, 4), 0.5), np.full((2, 2, 2), True), np.array([[1, 2]]), np.array([["a"]]), [], None],
)
def test_arrays_that_are_no_mask_are_refused(array: object) -> None:
    with pytest.raises(MaskInvalid, match=r"mask_invalid: a mask .*; give"):
        Mask.from_array(array)


@pytest.mark.parametrize(
    "rle",
    [
        None,
        {},
        {"size": [3, 4]},
        {"size": "34", "counts": [12]},
        {"size": [3, 4, 5], "counts": [12]},
        {"size": [0, 4], "counts": []},
        {"size": [3, 4], "counts": [12]},  # no pixel
        {"size": [3, 4], "counts": [3, 10]},  # too many
        {"size": [3, 4], "counts": [14, -2]},
        {"size": [3, 4], "counts": [3.0, 9.0]},
        {"size": [3, 4], "counts": [True, 11]},
        {"size": [3, 4], "counts": 12},
        {"size": [3, 4], "counts": "P"},  # cut short
        {"size": [3, 4], "counts": "\U0001f600"},
        {"size": [3, 4], "counts": b"\xff"},
        {"size": [3, 4], "counts": "o" * 1000},
        {"size": [3, 4], "counts": "1" * 1000},
        {"size": [10**9, 10**9], "counts": [0, 10**18]},  # a few bytes that would become an exabyte
    ],
)
def test_run_lengths_that_lie_are_refused(rle: object) -> None:
    with pytest.raises(RoiAgentError, match="mask"):
        Mask.from_coco(rle)


@given(st.text(), st.integers(1, 50), st.integers(1, 50))
def test_any_text_for_counts_gives_a_mask_or_a_coded_error(text: str, height: int, width: int) -> None:
    try:
        mask = Mask.from_coco({"size": [height, width], "counts": text})
    except MaskInvalid:
        return
    assert mask.to_array().shape == (height, width)


@pytest.mark.parametrize("given_mask", [RING, Mask.from_array(RING), Mask.from_array(RING).to_coco(), torch.from_numpy(RING)])
def test_a_region_is_given_by_its_mask_and_has_its_tight_box(given_mask: Any) -> None:
    (region,) = parse_regions([{"mask": given_mask, "label": "ring"}], size_wh=(4, 3))
    assert region.box.xyxy == (1, 0, 4, 3)
    assert region.mask == Mask.from_array(RING)
    assert parse_regions([region.to_dict()], size_wh=(4, 3)) == (region,)
    assert parse_regions([region], size_wh=(4, 3)) == (region,)


def test_a_mask_may_stand_for_a_region_by_itself_and_a_box_beside_it_stays() -> None:
    mask = Mask.from_array(RING)
    assert parse_regions([mask], size_wh=(4, 3))[0].box == mask.box
    assert parse_regions([{"mask": mask, "box": [0, 0, 4, 3]}], size_wh=(4, 3))[0].box.xyxy == (0, 0, 4, 3)


def test_a_mask_of_another_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(MaskInvalid, match="region1: the mask is 4 x 3 pixels, and the image 640 x 480"):
        parse_regions([{"mask": RING}], size_wh=(640, 480))


def test_where_a_region_came_from_survives_the_wire() -> None:
    wire = {
        "name": "region7",
        "box": [0, 0, 2, 2],
        "source": "detect",
        "prompt": "red star",
        "image": "image2",
        "parent": "region1",
    }
    (region,) = parse_regions([wire], size_wh=(4, 3))
    assert isinstance(region, Region)
    assert (region.source, region.prompt, region.image, region.parent) == ("detect", "red star", "image2", "region1")
    assert parse_regions([region.to_dict()], size_wh=(4, 3)) == (region,)
