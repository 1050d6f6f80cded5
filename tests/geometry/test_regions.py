"""Boxes and regions: every format lands in the image or in a coded error."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roi_agent.model.errors import (
    BoxEmpty,
    BoxFormatUnknown,
    BoxNotFinite,
    BoxOutOfBounds,
    InvalidSetting,
    RoiAgentError,
    TooManyRegions,
)
from roi_agent.model.geometry.regions import FORMATS, MAX_REGIONS, UNITS, Box, Region, parse_regions, small_box_warnings

SIZE = (640, 480)
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "format", "unit", "expected"),
    [
        ([64, 48, 320, 240], "xyxy", "pixel", (64, 48, 320, 240)),
        ([64, 48, 256, 192], "xywh", "pixel", (64, 48, 320, 240)),
        ([192, 144, 256, 192], "cxcywh", "pixel", (64, 48, 320, 240)),
        ([0.1, 0.1, 0.5, 0.5], "xyxy", "normalised", (64, 48, 320, 240)),
        ([0.1, 0.1, 0.4, 0.4], "xywh", "normalized", (64, 48, 320, 240)),
        ([100, 100, 500, 500], "xyxy", "thousandths", (64, 48, 320, 240)),
        ([300, 300, 400, 400], "cxcywh", "thousandths", (64, 48, 320, 240)),
        ([0, 0, 640, 480], "xyxy", "pixel", (0, 0, 640, 480)),
        ([0.5, 0.5, 1, 1], "cxcywh", "normalised", (0, 0, 640, 480)),
        ([0, 0, 1000, 1000], "xywh", "thousandths", (0, 0, 640, 480)),
        ([639, 479, 640, 480], "xyxy", "pixel", (639, 479, 640, 480)),
        ([0.25, 0.5, 0.75, 1], "xyxy", "pixel", (0.25, 0.5, 0.75, 1)),
        ([-0.0, -0.0, 1, 1], "xyxy", "pixel", (0, 0, 1, 1)),
    ],
)
def test_named_formats_give_pixel_xyxy(values: list[float], format: str, unit: str, expected: tuple[float, ...]) -> None:
    box = Box.parse(values, format=format, unit=unit, size_wh=SIZE)
    assert box.xyxy == pytest.approx(expected, abs=1e-9)
    assert all(type(side) is float and math.copysign(1, side) == 1 for side in box.xyxy)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([600, 10, 700, 50], BoxOutOfBounds, "x2 is 700 in an image 640 wide (box [600, 10, 700, 50]"),
        ([6, 10, 7, 481], BoxOutOfBounds, "y2 is 481 in an image 480 high"),
        ([-3, 10, 7, 50], BoxOutOfBounds, "x1 is -3"),
        ([0, 0, 640.001, 480], BoxOutOfBounds, "x2 is 640.001"),
        ([0, 0, 3e38, 3e38], BoxOutOfBounds, "3e+38"),
        ([0, 0, 1e308, 1e308], BoxOutOfBounds, "1e+308"),
        ([10, 10, 10, 50], BoxEmpty, "x1 is 10 and x2 is 10"),
        ([50, 10, 10, 50], BoxEmpty, "[50, 10, 10, 50]"),
        ([0, 0, 0, 0], BoxEmpty, "no area"),
        ([640, 0, 640.0001, 10], BoxEmpty, "x1 is 640"),
        ([NAN, 1, 2, 3], BoxNotFinite, "[nan, 1, 2, 3]"),
        ([NAN] * 4, BoxNotFinite, "nan"),
        ([0, 1, INF, 3], BoxNotFinite, "number 3 is inf"),
        ([-INF, 1, 2, 3], BoxNotFinite, "-inf"),
        ([0, 0, float("1e400"), 3], BoxNotFinite, "inf"),
        ([0, 0, 10**400, 3], BoxNotFinite, "a whole number of 1329 bits"),
        ([0, 0, 10**5000, 3], BoxNotFinite, "a whole number of 16610 bits"),
        ([0, 0, True, 3], BoxNotFinite, "True"),
        ([0, 0, "3", 3], BoxNotFinite, "'3'"),
        ([0, 0, None, 3], BoxNotFinite, "None"),
        ([0, 0, 1j, 3], BoxNotFinite, "a complex"),
        ([[1, 2], 2, 3, 4], BoxNotFinite, "[1, 2]"),
        ([0, 0, np.float32("nan"), 3], BoxNotFinite, "nan"),
        ([0, 0, np.bool_(True), 3], BoxNotFinite, "True"),
        (np.full(4, NAN), BoxNotFinite, "nan"),
        (torch.full((4,), INF, dtype=torch.float16), BoxNotFinite, "inf"),
        ([1, 2, 3], BoxFormatUnknown, "[1, 2, 3]"),
        ([1, 2, 3, 4, 5, 6, 7], BoxFormatUnknown, "[1, 2, 3, 4, 5, 6, ...]"),
        ([[1, 2, 3, 4]], BoxFormatUnknown, "[[...]]"),
        (np.zeros((1, 4)), BoxFormatUnknown, "[[...]]"),
        (np.float64(3), BoxFormatUnknown, "given as 3"),
        ("1234", BoxFormatUnknown, "'1234'"),
        (b"1234", BoxFormatUnknown, "a bytes"),
        (memoryview(b"1234"), BoxFormatUnknown, "a memoryview"),
        ({"x1": 1}, BoxFormatUnknown, "a dict"),
        (None, BoxFormatUnknown, "None"),
        (7, BoxFormatUnknown, "7"),
    ],
)
def test_a_bad_box_is_refused_and_repeated(values: object, error: type[RoiAgentError], words: str) -> None:
    with pytest.raises(error) as caught:
        Box.parse(values, size_wh=SIZE)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert " at 0x" not in str(caught.value)
    assert caught.value.do


@pytest.mark.parametrize(
    ("values", "format", "unit", "error"),
    [
        ([600, 10, 100, 50], "xywh", "pixel", BoxOutOfBounds),
        ([10, 10, 100, 50], "cxcywh", "pixel", BoxOutOfBounds),
        ([10, 10, -5, 50], "xywh", "pixel", BoxEmpty),
        ([10, 10, 0, 50], "cxcywh", "pixel", BoxEmpty),
        ([10, 10, 20, 20], "xyxy", "normalised", BoxOutOfBounds),
        ([0, 0, 1.00001, 1], "xyxy", "normalised", BoxOutOfBounds),
        ([0, 0, 1001, 1000], "xyxy", "thousandths", BoxOutOfBounds),
        ([1e308] * 4, "xywh", "normalised", BoxOutOfBounds),
        ([-1e308, 0, 1.7e308, 1], "cxcywh", "pixel", BoxOutOfBounds),
        ([0, 0, 1, 1], "yxyx", "pixel", BoxFormatUnknown),
        ([0, 0, 1, 1], "xyxy", "inch", BoxFormatUnknown),
        ([0, 0, 1, 1], ["xyxy"], "pixel", BoxFormatUnknown),
        ([0, 0, 1, 1], "xyxy", None, BoxFormatUnknown),
        (Box(0, 0, 1, 1), "yxyx", "pixel", BoxFormatUnknown),
    ],
)
def test_bad_boxes_in_other_formats(values: object, format: Any, unit: Any, error: type[RoiAgentError]) -> None:
    with pytest.raises(error):
        Box.parse(values, format=format, unit=unit, size_wh=SIZE)


def test_an_unknown_format_names_the_allowed_ones() -> None:
    with pytest.raises(BoxFormatUnknown, match="xyxy, xywh, cxcywh"):
        Box.parse([0, 0, 1, 1], format="ltrb", size_wh=SIZE)
    with pytest.raises(BoxFormatUnknown, match="pixel, normalised, thousandths"):
        Box.parse([0, 0, 1, 1], unit="cm", size_wh=SIZE)


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor, lambda v: np.array(v, np.float32), lambda v: Box(*v)])
def test_every_container_of_four_numbers_is_read(make: Callable[[list[float]], object]) -> None:
    assert Box.parse(make([1.0, 2.0, 3.0, 4.0]), size_wh=SIZE) == Box(1, 2, 3, 4)


@pytest.mark.parametrize("values", [[NAN, 0, 1, 1], [0, 0, INF, 1], [0, 0, True, 1], [0, 0, "1", 1], [0, None, 1, 1]])
def test_a_box_made_by_hand_checks_its_numbers(values: list[Any]) -> None:
    with pytest.raises(BoxNotFinite):
        Box(*values)


@pytest.mark.parametrize(
    ("values", "error"), [([3, 0, 3, 1], BoxEmpty), ([0, 2, 3, 1], BoxEmpty), ([-1, 0, 3, 1], BoxOutOfBounds)]
)
def test_a_box_made_by_hand_checks_its_corners(values: list[float], error: type[RoiAgentError]) -> None:
    with pytest.raises(error, match=r"\(box \["):
        Box(*values)


def test_a_box_knows_its_measures() -> None:
    box = Box(10, 20, 40, 60)
    assert (box.width, box.height, box.area, box.centre) == (30, 40, 1200, (25, 40))
    assert box.xywh == (10, 20, 30, 40)
    assert box.normalised((100, 200)) == (0.1, 0.1, 0.4, 0.3)
    assert box.checked_within((40, 60)) is box
    for check in (box.checked_within, box.normalised):
        with pytest.raises(BoxOutOfBounds, match="x2 is 40 in an image 39 wide"):
            check((39, 60))


@pytest.mark.parametrize("size_wh", [(0, 5), (5, -1), (5,), (1, 2, 3), (5.5, 5), None, "ab", (NAN, 1)])
def test_an_impossible_image_size_is_refused(size_wh: Any) -> None:
    with pytest.raises(InvalidSetting):
        Box.parse([0, 0, 1, 1], size_wh=size_wh)


NUMBERS = st.floats(width=64) | st.floats(-10, 700) | st.floats(0, 1) | st.integers()


@given(st.lists(NUMBERS, min_size=4, max_size=4), st.sampled_from(FORMATS), st.sampled_from(UNITS))
def test_four_numbers_are_a_box_in_the_image_or_a_coded_error(values: list[float], format: str, unit: str) -> None:
    try:
        box = Box.parse(values, format=format, unit=unit, size_wh=SIZE)
    except RoiAgentError as error:
        assert type(error) in (BoxEmpty, BoxNotFinite, BoxOutOfBounds)
    else:
        assert 0 <= box.x1 < box.x2 <= SIZE[0]
        assert 0 <= box.y1 < box.y2 <= SIZE[1]
        assert all(0 <= part <= 1 for part in box.normalised(SIZE))


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(JUNK)
def test_any_json_is_regions_or_a_coded_error(junk: object) -> None:
    for call in (lambda: Box.parse(junk, size_wh=SIZE), lambda: parse_regions(junk, size_wh=SIZE)):
        try:
            call()
        except RoiAgentError as error:
            assert str(error)


@given(st.tuples(st.integers(0, 639), st.integers(0, 479)), st.data(), st.sampled_from(FORMATS), st.sampled_from(UNITS))
def test_formats_and_units_round_trip(corner: tuple[int, int], data: st.DataObject, format: str, unit: str) -> None:
    x1, y1 = corner
    x2, y2 = data.draw(st.integers(x1 + 1, 640)), data.draw(st.integers(y1 + 1, 480))
    values = {
        "xyxy": (x1, y1, x2, y2),
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
    }[format]
    whole = {"pixel": SIZE, "normalised": (1, 1), "thousandths": (1000, 1000)}[unit]
    scaled = [value / side * part for value, side, part in zip(values, SIZE * 2, whole * 2, strict=True)]
    for given_values in (scaled, np.array(scaled, np.float32)):  # rounding in float32 stays inside the tolerance
        assert Box.parse(given_values, format=format, unit=unit, size_wh=SIZE).xyxy == pytest.approx((x1, y1, x2, y2), abs=1e-3)


@pytest.mark.parametrize(
    ("items", "names"),
    [
        ([], []),
        (None, []),
        (np.zeros((0, 4)), []),
        ([Box(0, 0, 1, 1), [0, 0, 2, 2]], ["region1", "region2"]),
        (np.array([[0, 0, 1, 1], [0, 0, 2, 2]]), ["region1", "region2"]),
        (torch.tensor([[0.0, 0, 1, 1]]), ["region1"]),
        ([torch.tensor([0.0, 0, 1, 1])], ["region1"]),
        ([{"name": "region7", "box": [0, 0, 1, 1]}, [0, 0, 2, 2]], ["region7", "region2"]),
        ([Region("region9999", Box(0, 0, 1, 1))], ["region9999"]),
        ([{"name": None, "box": [0, 0, 1, 1], "format": None, "unit": None, "label": None}], ["region1"]),
        (({"box": (0, 0, 1, 1), "unit": "normalised"},), ["region1"]),
    ],
)
def test_lists_of_regions(items: Any, names: list[str]) -> None:
    assert [region.name for region in parse_regions(items, size_wh=SIZE)] == names


def test_an_item_may_name_its_own_format() -> None:
    wire = {"box": [0.5, 0.5, 0.5, 0.5], "format": "cxcywh", "unit": "normalised", "label": "cup"}
    first, second = parse_regions([wire, [0, 0, 10, 10]], size_wh=SIZE, format="xywh")
    assert first == Region("region1", Box(160, 120, 480, 360), label="cup")
    assert second.box.xyxy == (0, 0, 10, 10)


@pytest.mark.parametrize(
    ("items", "error", "words"),
    [
        ([[0, 0, 1, 1], [0, 0, 700, 1]], BoxOutOfBounds, "region2: x2 is 700"),
        ([Box(0, 0, 700, 1)], BoxOutOfBounds, "region1: x2 is 700"),
        ([Region("region3", Box(0, 0, 700, 1))], BoxOutOfBounds, "x2 is 700"),
        ([{"name": "region2", "box": [0, 0, 1, 1]}, [0, 0, 1, 1]], InvalidSetting, "2 items are called region2"),
        ([Region("region5", Box(0, 0, 1, 1))] * 3, InvalidSetting, "3 items are called region5"),
        ([{"box": [0, 0, 1, 1], "colour": "red"}], InvalidSetting, "'colour'"),
        ([{"box": [0, 0, 1, 1], "name": "dog"}], InvalidSetting, "'dog'"),
        ([{"box": [0, 0, 1, 1], "label": 3}], InvalidSetting, "label 3"),
        ([{"name": "region1"}], BoxFormatUnknown, "no box"),
        ([{"box": [0, 0, 1, 1], "unit": "inch"}], BoxFormatUnknown, "'inch'"),
        ([0, 0, 1, 1], BoxFormatUnknown, "4 bare numbers"),
        (np.zeros(4), BoxFormatUnknown, "(4,)"),
        (np.zeros((2, 5)), BoxFormatUnknown, "(2, 5)"),
        (Box(0, 0, 1, 1), BoxFormatUnknown, "a Box"),
        ({"box": [0, 0, 1, 1]}, BoxFormatUnknown, "a dict"),
        ("region1", BoxFormatUnknown, "a str"),
        ([None], BoxFormatUnknown, "no box"),
        ([[0, 0, 1, 1]] * (MAX_REGIONS + 1), TooManyRegions, "201 regions"),
        (np.zeros((5000, 4)), TooManyRegions, "5000 regions"),
    ],
)
def test_a_bad_list_of_regions_is_refused(items: Any, error: type[RoiAgentError], words: str) -> None:
    with pytest.raises(error) as caught:
        parse_regions(items, size_wh=SIZE)
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_the_most_regions_are_allowed_and_the_limit_can_be_lower() -> None:
    assert len(parse_regions([[0, 0, 1, 1]] * MAX_REGIONS, size_wh=SIZE)) == MAX_REGIONS
    with pytest.raises(TooManyRegions):
        parse_regions([[0, 0, 1, 1]] * 2, size_wh=SIZE, max_regions=1)


@pytest.mark.parametrize("name", ["region0", "region", "region10000", "region1\n", "Region1", "<region1>", "", 1, None])
def test_only_region_numbers_are_names(name: Any) -> None:
    with pytest.raises(InvalidSetting, match="region1, region2"):
        Region(name, Box(0, 0, 1, 1))


@pytest.mark.parametrize("change", [{"box": [0, 0, 1, 1]}, {"label": 1}, {"score": NAN}, {"score": True}, {"source": None}])
def test_a_region_checks_its_fields(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"name": "region1", "box": Box(0, 0, 1, 1)} | change
    with pytest.raises(InvalidSetting):
        Region(**fields)


def test_a_region_comes_back_from_its_wire_form() -> None:
    regions = (Region("region4", Box(0.5, 1, 2, 3.25), "a cup", 0.75, "detector"), Region("region2", Box(0, 0, 640, 480)))
    assert parse_regions([region.to_dict() for region in regions], size_wh=SIZE) == regions


def test_small_boxes_are_warned_about() -> None:
    regions = parse_regions([[0, 0, 40, 30], [0, 0, 39, 300], [0, 0, 1, 1]], size_wh=SIZE)
    narrow, fraction = small_box_warnings(regions, size_wh=SIZE, grid_wh=(16, 16))
    assert narrow.startswith("region2 is 39 x 300 pixels, smaller than one feature cell (40 x 30 pixels)")
    assert "normalised" not in narrow
    assert fraction.endswith("if these are fractions, name the unit: normalised")
    assert small_box_warnings((), size_wh=SIZE, grid_wh=(16, 16)) == []
    tiny = parse_regions([[0, 0, 1, 1]], size_wh=(2, 2))
    assert "fractions" not in small_box_warnings(tiny, size_wh=(2, 2), grid_wh=(1, 1))[0]


def test_regions_import_neither_torch_nor_pillow() -> None:
    code = "import sys, roi_agent.model.geometry.regions; print(sorted({'torch', 'PIL', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
