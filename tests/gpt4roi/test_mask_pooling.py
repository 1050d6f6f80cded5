"""Regions pooled by their masks: how much of each bin a mask covers, and the published pooling where the mask is the box."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from roi_agent.model.errors import InvalidSetting, MaskInvalid, RoiAgentError
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.gpt4roi.coverage import mask_coverage
from roi_agent.model.gpt4roi.region_encoder import RegionEncoder
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from tests.gpt4roi.test_region_encoder import features_for, make_encoder
from tests.masked import filled, masked_regions, region

BINS = 3  # of the small encoder


# -- coverage


def pixel_by_pixel(given: Region, bins: int) -> NDArray[np.float64]:
    assert given.mask is not None
    box, array = given.box, given.mask.to_array()
    shares = np.zeros((bins, bins))
    for row in range(bins):
        for column in range(bins):
            left, right = (box.x1 + box.width * each / bins for each in (column, column + 1))
            top, bottom = (box.y1 + box.height * each / bins for each in (row, row + 1))
            for y, x in zip(*np.nonzero(array), strict=True):
                across, down = min(right, x + 1) - max(left, x), min(bottom, y + 1) - max(top, y)
                shares[row, column] += max(across, 0) * max(down, 0)
    return shares / (box.width * box.height / bins**2)


@settings(max_examples=150, deadline=None)
@given(masked_regions(), st.integers(1, 5))
def test_coverage_is_the_share_of_each_bins_area(given: Region, bins: int) -> None:
    coverage = mask_coverage([given], bins)
    assert coverage.shape == (1, bins, bins) and coverage.dtype == torch.float32
    assert np.allclose(coverage[0], pixel_by_pixel(given, bins), atol=1e-6)
    assert coverage.min() >= 0 and coverage.max() <= 1 and coverage.sum() > 0


@pytest.mark.parametrize(
    ("array", "box", "expected"),
    [
        (filled((4, 4), 0, 0, 4, 4), None, [[1, 1], [1, 1]]),  # the full frame
        (filled((9, 7), 8, 6, 9, 7), None, [[1, 1], [1, 1]]),  # one pixel in the corner
        (filled((8, 8), 2, 2, 3, 3), Box(0, 0, 8, 8), [[1 / 16, 0], [0, 0]]),  # much smaller than the box
        (filled((8, 8), 0, 0, 4, 8), Box(0, 0, 8, 8), [[1, 0], [1, 0]]),  # at the edge
        (filled((8, 8), 0, 0, 8, 8), Box(1.3, 0.2, 7.9, 5.1), [[1, 1], [1, 1]]),  # larger than the box
        (filled((8, 8), 4, 4, 5, 5), Box(4.5, 4.5, 4.5 + 1e-9, 8), [[1, 1], [1, 1]]),  # a box without any width
    ],
)
def test_known_coverages(array: NDArray[np.bool_], box: Box | None, expected: list[list[float]]) -> None:
    assert mask_coverage([region(array, box)], 2)[0].tolist() == expected


def test_regions_without_masks_are_covered_whole() -> None:
    plain = Region("region1", Box(0, 0, 3, 3))
    both = mask_coverage([plain, region(filled((9, 9), 0, 0, 1, 1), Box(0, 0, 9, 9))], BINS)
    assert torch.equal(both[0], torch.ones(BINS, BINS)) and both[1].sum() == pytest.approx(1 / 9)
    assert mask_coverage([], BINS).shape == (0, BINS, BINS)


def test_a_mask_off_its_box_is_refused_at_the_door() -> None:
    mask = filled((20, 20), 0, 0, 5, 5)
    with pytest.raises(MaskInvalid, match="region1: the mask has no pixel in the box"):
        parse_regions([{"mask": mask, "box": [10, 10, 20, 20]}], size_wh=(20, 20))
    (kept,) = parse_regions([{"mask": mask, "box": [4.5, 4.5, 20, 20]}], size_wh=(20, 20))
    assert mask_coverage([kept], 1).item() == pytest.approx(0.25 / 15.5**2)


# -- pooling


@torch.no_grad()
def pooled(encoder: Any, maps: list[Tensor], regions: list[Region], size_wh: tuple[int, int]) -> Tensor:
    boxes = torch.tensor([each.box.normalised(size_wh) for each in regions], dtype=torch.float32)
    coverage = mask_coverage(regions, BINS)
    vectors: Tensor = encoder.pool(maps, [RegionInputs(boxes, coverage)])[0]
    return vectors


@pytest.fixture(scope="module")
def encoders() -> tuple[RegionEncoder, RegionEncoder]:
    """With the option and as published, of the same weights."""
    return make_encoder(2, mask_pooling=True), make_encoder(2)


@pytest.fixture(scope="module")
def maps(encoders: tuple[RegionEncoder, RegionEncoder]) -> list[Tensor]:
    with torch.no_grad():
        return encoders[1].fuse(features_for(encoders[1], images=1))


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 40), height=st.integers(1, 40), data=st.data())
def test_a_mask_that_is_the_box_gives_exactly_the_published_pooling(
    encoders: tuple[RegionEncoder, RegionEncoder], maps: list[Tensor], width: int, height: int, data: st.DataObject
) -> None:
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    encoder, published = encoders
    with torch.no_grad():
        whole = region(filled((width, height), x1, y1, x2, y2))
        boxes = torch.tensor([whole.box.normalised((width, height))], dtype=torch.float32)
        assert torch.equal(pooled(encoder, maps, [whole], (width, height)), published.pool(maps, [boxes])[0])


@settings(max_examples=60, deadline=None)
@given(region=masked_regions())
def test_masked_and_plain_regions_in_one_batch_are_what_they_are_alone(
    encoders: tuple[RegionEncoder, RegionEncoder], maps: list[Tensor], region: Region
) -> None:
    encoder = encoders[0]
    assert region.mask is not None
    size_wh = region.mask.size_wh
    together = pooled(encoder, maps, [region, replace(region, mask=None), region], size_wh)
    box = torch.tensor([region.box.normalised(size_wh)], dtype=torch.float32)
    with torch.no_grad():
        plain = encoder.pool(maps, [box])[0][0]
    assert together.isfinite().all()
    assert torch.allclose(together[0], pooled(encoder, maps, [region], size_wh)[0], atol=1e-5)
    assert torch.allclose(together[1], plain, atol=1e-5)
    assert torch.allclose(together[0], together[2], atol=1e-5)


@torch.no_grad()
def test_what_lies_far_off_the_mask_does_not_count() -> None:
    encoder = make_encoder(1, mask_pooling=True, roi_size=8)
    maps = [torch.randn(1, 16, 16, 16)]
    changed = [maps[0].clone()]
    changed[0][:, :, :, 9:] += 5  # more than a bin from the mask, in the left half
    box, coverage = torch.tensor([[0.0, 0, 1, 1]]), torch.zeros(1, 8, 8)
    coverage[:, :, :3] = 1
    masked = RegionInputs(box, coverage)
    assert torch.allclose(encoder.pool(maps, [masked])[0], encoder.pool(changed, [masked])[0], atol=1e-5)
    assert not torch.allclose(encoder.pool(maps, [box])[0], encoder.pool(changed, [box])[0], atol=1e-2)
    assert not torch.allclose(encoder.pool(maps, [box])[0], encoder.pool(maps, [masked])[0], atol=1e-2)


@torch.no_grad()
def test_many_regions_are_pooled_in_chunks_with_their_own_masks() -> None:
    encoder = make_encoder(2, mask_pooling=True)
    maps = encoder.fuse(features_for(encoder, images=2))
    boxes, coverage = torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(130, 1), torch.rand(130, BINS, BINS)
    first, second = encoder.pool(maps, [RegionInputs(boxes[:70], coverage[:70]), RegionInputs(boxes[70:], coverage[70:])])
    none, one, other = boxes[:0], RegionInputs(boxes[:1], coverage[69:70]), RegionInputs(boxes[:1], coverage[129:])
    assert torch.allclose(first[69], encoder.pool(maps, [one, none])[0][0], atol=1e-5)
    assert torch.allclose(second[59], encoder.pool(maps, [none, other])[1][0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "coverage", "error"),
    [
        ({}, torch.ones(1, BINS, BINS), InvalidSetting),
        ({"mask_pooling": True}, torch.zeros(1, BINS, BINS), MaskInvalid),
        ({"mask_pooling": True}, torch.full((1, BINS, BINS), 1.5), MaskInvalid),
        ({"mask_pooling": True}, torch.full((1, BINS, BINS), float("nan")), MaskInvalid),
        ({"mask_pooling": True}, torch.ones(1, BINS + 1, BINS + 1), MaskInvalid),
        ({"mask_pooling": True}, torch.ones(2, BINS, BINS), MaskInvalid),
    ],
)
def test_coverage_that_makes_no_sense_is_refused(options: dict[str, Any], coverage: Tensor, error: type[RoiAgentError]) -> None:
    encoder = make_encoder(2, **options)
    maps = encoder.fuse(features_for(encoder, images=1))
    with pytest.raises(error):
        encoder.pool(maps, [RegionInputs(torch.tensor([[0.1, 0.1, 0.9, 0.9]]), coverage)])
