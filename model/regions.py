"""Boxes and regions: the one door through which coordinates come in.

Inside the product only `Box` exists: float64 pixels, xyxy, of the upright image. Every other format or unit is
converted here, once, and only when it is named. Nothing heavy is imported, so that any layer may use this.
"""

import math
import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from roi_agent.model import errors

FORMATS = ("xyxy", "xywh", "cxcywh")
UNITS = ("pixel", "normalised", "thousandths")
MAX_REGIONS = 200

# A float32 that went through another unit may stand this far over the edge, as a part of the side; no further.
EDGE_TOLERANCE = 1e-6

_SPELLINGS = {"normalized": "normalised"}
_NAME = re.compile(r"region[1-9][0-9]{0,3}")
_KEYS = ("name", "box", "format", "unit", "label", "score", "source")
_BYTES = str | bytes | bytearray | memoryview  # sequences of numbers to Python, never boxes to us
_FOUR = "give four numbers, such as [10, 20, 110, 220]"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in float64 pixels of the upright image: 0 <= x1 < x2 and 0 <= y1 < y2.

    `xyxy`, `xywh`, `width`, `height` and `centre` (x, y) are pixels, `area` is square pixels.
    Errors: BoxNotFinite, BoxEmpty (no area, or corners in the wrong order), BoxOutOfBounds (negative).
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        given = (self.x1, self.y1, self.x2, self.y2)
        note = f" (box {_show(given)})"
        for side, value in zip(("x1", "y1", "x2", "y2"), given, strict=True):
            # + 0.0 turns -0.0 into 0.0: equal boxes shall also print and hash alike.
            object.__setattr__(self, side, _finite(value, side, note) + 0.0)
        _check(self.xyxy, note)

    @classmethod
    def parse(cls, values: object, *, format: str = "xyxy", unit: str = "pixel", size_wh: tuple[int, int]) -> "Box":
        """The box that four numbers name, checked against its image.

        values: a list, tuple, array or tensor of four numbers; a Box is only checked against the image.
        format: xyxy (two corners), xywh (corner and size) or cxcywh (centre and size).
        unit: pixel, normalised (parts of the side, 0 to 1) or thousandths (1000 is the whole side).
        size_wh: width and height of the upright image in pixels.
        Rounding of at most a millionth of the side over the edge is moved onto the edge.
        Errors: BoxFormatUnknown, BoxNotFinite, BoxEmpty, BoxOutOfBounds; each repeats the box as given.
        """
        format, unit = _known("format", format, FORMATS), _known("unit", unit, UNITS)
        width, height = size_wh = _size(size_wh)
        if isinstance(values, Box):
            return values.checked_within(size_wh)
        given = _four(values)
        note = f" (box {_show(given)}, {format}, {unit})"
        a, b, c, d = (_finite(value, f"number {i}", note) for i, value in enumerate(given, start=1))
        if format == "xywh":
            a, b, c, d = a, b, a + c, b + d
        elif format == "cxcywh":
            a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
        step_w, step_h = {"pixel": (1, 1), "normalised": (width, height), "thousandths": (width / 1000, height / 1000)}[unit]
        x1, x2 = _onto_edge(a * step_w, width), _onto_edge(c * step_w, width)
        y1, y2 = _onto_edge(b * step_h, height), _onto_edge(d * step_h, height)
        _check((x1, y1, x2, y2), note, size_wh)
        return cls(x1, y1, x2, y2)

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        return self.x1, self.y1, self.x2, self.y2

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        return self.x1, self.y1, self.width, self.height

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        return self.x1 + self.width / 2, self.y1 + self.height / 2

    def normalised(self, size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
        """The box as xyxy in [0, 1] of an image of size_wh pixels; BoxOutOfBounds if it is not within."""
        self.checked_within(size_wh)
        width, height = size_wh
        return self.x1 / width, self.y1 / height, self.x2 / width, self.y2 / height

    def checked_within(self, size_wh: tuple[int, int]) -> "Box":
        """This box, if it lies in an image of size_wh pixels, to the last bit; else BoxOutOfBounds."""
        _check(self.xyxy, f" (box {_show(self.xyxy)})", _size(size_wh))
        return self


@dataclass(frozen=True, slots=True)
class Region:
    """A box of one image under a stable name.

    name: region1 to region9999.  label: what somebody says it shows.  score: how sure the source was.
    source: where the box comes from: "user", or the detector or segmenter that found it.
    Error: InvalidSetting for a field that is not allowed.
    """

    name: str
    box: Box
    label: str | None = None
    score: float | None = None
    source: str = "user"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise errors.InvalidSetting(f"a region is named {_show(self.name)}", do="use region1, region2, ... region9999")
        if not isinstance(self.box, Box):
            raise errors.InvalidSetting(f"{self.name} holds a {type(self.box).__name__} for a box", do="use Box.parse")
        if not isinstance(self.label, str | None) or not isinstance(self.source, str):
            problem = f"{self.name} has the label {_show(self.label)} and the source {_show(self.source)}"
            raise errors.InvalidSetting(problem, do="give a text for each; the label may be none")
        if self.score is not None:
            if isinstance(self.score, bool) or not isinstance(self.score, Real) or not math.isfinite(self.score):
                raise errors.InvalidSetting(f"{self.name} has the score {_show(self.score)}", do="give a finite number, or none")
            object.__setattr__(self, "score", float(self.score))

    def to_dict(self) -> dict[str, object]:
        """The wire form, which `parse_regions` reads back."""
        wire: dict[str, object] = {"name": self.name, "box": list(self.box.xyxy), "format": "xyxy", "unit": "pixel"}
        return wire | {"label": self.label, "score": self.score, "source": self.source}


def parse_regions(
    regions: object, *, size_wh: tuple[int, int], format: str = "xyxy", unit: str = "pixel", max_regions: int = MAX_REGIONS
) -> tuple[Region, ...]:
    """The regions of one question, named and checked against their image.

    regions: a list whose items are each a Box, a Region, four numbers, or a mapping with "box" and perhaps "name",
        "format", "unit", "label", "score", "source"; or an array or tensor (N, 4). None is no region.
    size_wh: width and height of the upright image in pixels.
    format, unit: what four numbers mean where an item does not say it (see `Box.parse`).
    An item without a name is called after its position: region1, region2, ...
    Errors: those of Box.parse, TooManyRegions, and InvalidSetting for a bad or repeated name or an unknown key.
    """
    items = enumerate(_items(regions, max_regions), start=1)
    found = tuple(_region(item, f"region{position}", size_wh, format, unit) for position, item in items)
    counts = Counter(region.name for region in found)
    if repeated := [name for name, count in counts.items() if count > 1]:
        problem = f"{counts[repeated[0]]} items are called {repeated[0]}"
        raise errors.InvalidSetting(problem, do="name every region, each differently, or none of them")
    return found


def small_box_warnings(regions: Sequence[Region], *, size_wh: tuple[int, int], grid_wh: tuple[int, int]) -> list[str]:
    """A sentence for each region that is smaller than one feature cell in width or height.

    size_wh: the image in pixels.  grid_wh: feature cells across and down; a cell is image side / grid.
    """
    (width, height), (columns, rows) = _size(size_wh), _size(grid_wh, "a feature grid")
    cell_w, cell_h = width / columns, height / rows
    warnings = []
    for region in regions:
        box = region.box
        if box.width < cell_w or box.height < cell_h:
            text = f"{region.name} is {box.width:.6g} x {box.height:.6g} pixels, smaller than one feature cell "
            text += f"({cell_w:.6g} x {cell_h:.6g} pixels): the answer may be about what surrounds it; zoom in first"
            fractions = max(box.xyxy) <= 1 and width > 2 and height > 2
            warnings.append(text + ("; if these are fractions, name the unit: normalised" if fractions else ""))
    return warnings


def _items(regions: object, max_regions: int) -> Sequence[object]:
    """The list of regions, counted before anything is read from it."""
    if regions is None:
        return ()
    if hasattr(regions, "tolist") and not isinstance(regions, memoryview):
        shape = tuple(getattr(regions, "shape", ()))
        if len(shape) != 2 or (shape[0] > 0 and shape[1] != 4):
            raise errors.BoxFormatUnknown(f"the regions are an array of shape {shape}", do="give boxes of shape (N, 4)")
    elif not isinstance(regions, Sequence) or isinstance(regions, _BYTES):
        raise errors.BoxFormatUnknown(f"the regions are a {type(regions).__name__}", do="give a list of regions")
    count = len(regions)  # type: ignore[arg-type]  # arrays count their rows
    if count > max_regions:
        raise errors.TooManyRegions(f"{count} regions, and {max_regions} are allowed at once", do="ask in several questions")
    if not isinstance(regions, Sequence):
        return list(regions.tolist())
    if count and all(isinstance(item, Real) for item in regions):
        raise errors.BoxFormatUnknown(f"the regions are {count} bare numbers", do="give a list of boxes: [[x1, y1, x2, y2]]")
    return regions


def _region(item: object, default_name: str, size_wh: tuple[int, int], format: str, unit: str) -> Region:
    """One item of a list of regions; the error of a bad box starts with the region's name."""
    given: Mapping[str, Any] = item if isinstance(item, Mapping) else {"box": item}
    if isinstance(item, Region):
        given = item.to_dict() | {"box": item.box}
    if unknown := [key for key in given if key not in _KEYS]:
        raise errors.InvalidSetting(f"{default_name} has the unknown key {_show(unknown[0])}", do=f"use {', '.join(_KEYS)}")
    # A field that is None counts as left out: JSON writers like to send every field they know.
    wire = {key: value for key, value in given.items() if value is not None}
    if "box" not in wire:
        raise errors.BoxFormatUnknown(f"{default_name} has no box", do=f"under 'box', {_FOUR}")
    try:
        box = Box.parse(wire["box"], format=wire.get("format", format), unit=wire.get("unit", unit), size_wh=size_wh)
    except errors.UserError as error:
        raise type(error)(f"{default_name}: {error.problem}", do=error.do) from None
    return Region(wire.get("name", default_name), box, wire.get("label"), wire.get("score"), wire.get("source", "user"))


def _four(values: object) -> tuple[object, ...]:
    """The four values as plain Python objects: arrays and tensors give theirs by `tolist`."""
    if hasattr(values, "tolist") and not isinstance(values, memoryview):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, _BYTES) or len(values) != 4:
        raise errors.BoxFormatUnknown(f"a box is given as {_show(values)}", do=_FOUR)
    return tuple(value.tolist() if hasattr(value, "tolist") else value for value in values)


def _finite(value: object, what: str, note: str) -> float:
    """The number as a float, else BoxNotFinite."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise errors.BoxNotFinite(f"{what} is {_show(value)}{note}", do="give finite numbers")
    return number


def _check(xyxy: tuple[float, float, float, float], note: str, size_wh: tuple[int, int] | None = None) -> None:
    """Raise unless 0 <= low < high on both axes, and high <= side where the image's size is given."""
    for axis, low, high, index in (("x", xyxy[0], xyxy[2], 0), ("y", xyxy[1], xyxy[3], 1)):
        if low < 0:
            raise errors.BoxOutOfBounds(f"{axis}1 is {_show(low)}{note}", do="start at 0 or above, or name the format")
        if size_wh and high > size_wh[index]:
            problem = f"{axis}2 is {_show(high)} in an image {size_wh[index]} {('wide', 'high')[index]}{note}"
            do = f"give pixel xyxy within {size_wh[0]} x {size_wh[1]}, or name the unit and format"
            raise errors.BoxOutOfBounds(problem, do=do)
        if low >= high:
            problem = f"{axis}1 is {_show(low)} and {axis}2 is {_show(high)}: the box has no area{note}"
            raise errors.BoxEmpty(problem, do="give the top left corner, then the bottom right one, or name the format")


def _onto_edge(value: float, side: int) -> float:
    """The value, or the edge where it passes the edge by rounding alone."""
    nearest = min(max(value, 0.0), float(side))
    return nearest if abs(value - nearest) <= EDGE_TOLERANCE * side else value


def _size(size_wh: tuple[int, int], what: str = "an image") -> tuple[int, int]:
    try:
        width, height = map(operator.index, size_wh)
    except (TypeError, ValueError):
        width = height = 0
    if width < 1 or height < 1:
        raise errors.InvalidSetting(f"{what} has the size {_show(size_wh)}", do="give whole numbers from 1: width, height")
    return width, height


def _known(what: str, value: object, allowed: tuple[str, ...]) -> str:
    name = _SPELLINGS.get(value, value) if isinstance(value, str) else None
    if name not in allowed:
        raise errors.BoxFormatUnknown(f"the box {what} {_show(value)} is unknown", do=f"use one of {', '.join(allowed)}")
    return str(name)


def _show(value: object) -> str:
    """The value as given, short, and never with an address from memory as an object's own repr would have."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "tolist"):
        value = value.tolist()  # a number of numpy or torch
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a whole number of {value.bit_length()} bits"
    if value is None or isinstance(value, float | int):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    if isinstance(value, list | tuple):
        shown = ["[...]" if isinstance(item, list | tuple) else _show(item) for item in value[:6]]
        return "[" + ", ".join(shown) + (", ...]" if len(value) > 6 else "]")
    return f"a {type(value).__name__}"
