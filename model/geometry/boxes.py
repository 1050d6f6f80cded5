"""Boxes: the only entry point for coordinates.

Internally there is only `Box`: float64 pixels, xyxy, of the upright image. Every other format or unit must be named,
and is converted here, once. This module imports nothing heavy, so any layer may use it.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from roi_agent.model import errors
from roi_agent.model.utils.messages import escaped

FORMATS = ("xyxy", "xywh", "cxcywh")
UNITS = ("pixel", "normalised", "thousandths")
MAX_PIXELS = 50_000_000  # default limit for an image
PIXEL_LIMIT = 89_478_485  # highest limit for an image, and the limit for a mask; above it, Pillow warns where we cannot intervene
BYTES = str | bytes | bytearray | memoryview  # sequences of numbers in Python, but never boxes
FOUR_NUMBERS = "give four numbers, such as [10, 20, 110, 220]"

# Rounding of a float32 may move a converted coordinate over the edge by this fraction of the side.
EDGE_TOLERANCE = 1e-6

_SPELLINGS = {"normalized": "normalised"}


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
        note = f" (box {escaped(given)})"
        for side, value in zip(("x1", "y1", "x2", "y2"), given, strict=True):
            # + 0.0 turns -0.0 into 0.0, so that equal boxes also print and hash alike.
            object.__setattr__(self, side, _finite(value, side, note) + 0.0)
        _check(self.xyxy, note)

    @classmethod
    def parse(cls, values: object, *, format: str = "xyxy", unit: str = "pixel", size_wh: tuple[int, int]) -> "Box":
        """Return the box given by four numbers, checked against its image.

        values: a list, tuple, array or tensor of four numbers; a Box is only checked against the image.
        format: xyxy (two corners), xywh (corner and size) or cxcywh (centre and size).
        unit: pixel, normalised (fractions of the side, 0 to 1) or thousandths (1000 is the whole side).
        size_wh: width and height of the upright image in pixels.
        A coordinate over the edge by at most a millionth of the side is moved onto the edge.
        Errors: BoxFormatUnknown, BoxNotFinite, BoxEmpty, BoxOutOfBounds; each message repeats the box as given.
        """
        format, unit = _choice("format", format, FORMATS), _choice("unit", unit, UNITS)
        width, height = size_wh = checked_size(size_wh)
        if isinstance(values, Box):
            return values.checked_within(size_wh)
        given = _four(values)
        note = f" (box {escaped(given)}, {format}, {unit})"
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
        """The box as xyxy in [0, 1] of an image of size_wh pixels.  Error: BoxOutOfBounds."""
        self.checked_within(size_wh)
        width, height = size_wh
        return self.x1 / width, self.y1 / height, self.x2 / width, self.y2 / height

    def checked_within(self, size_wh: tuple[int, int]) -> "Box":
        """Return this box if it lies exactly within an image of size_wh pixels.  Error: BoxOutOfBounds."""
        _check(self.xyxy, f" (box {escaped(self.xyxy)})", checked_size(size_wh))
        return self


def checked_size(size_wh: tuple[int, int], what: str = "an image") -> tuple[int, int]:
    try:
        width, height = map(operator.index, size_wh)
    except (TypeError, ValueError):
        width = height = 0
    if width < 1 or height < 1:
        raise errors.InvalidSetting(f"{what} has the size {escaped(size_wh)}", do="give whole numbers from 1: width, height")
    return width, height


def _four(values: object) -> tuple[object, ...]:
    """Return the four values as plain Python objects, those of arrays and tensors by `tolist`."""
    if hasattr(values, "tolist") and not isinstance(values, memoryview):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, BYTES) or len(values) != 4:
        raise errors.BoxFormatUnknown(f"a box is given as {escaped(values)}", do=FOUR_NUMBERS)
    return tuple(value.tolist() if hasattr(value, "tolist") else value for value in values)


def _finite(value: object, what: str, note: str) -> float:
    """Return the number as a float.  Error: BoxNotFinite."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise errors.BoxNotFinite(f"{what} is {escaped(value)}{note}", do="give finite numbers")
    return number


def _check(xyxy: tuple[float, float, float, float], note: str, size_wh: tuple[int, int] | None = None) -> None:
    """Raise unless 0 <= low < high on both axes, and high <= side where the image's size is given."""
    for axis, low, high, index in (("x", xyxy[0], xyxy[2], 0), ("y", xyxy[1], xyxy[3], 1)):
        if low < 0:
            raise errors.BoxOutOfBounds(f"{axis}1 is {escaped(low)}{note}", do="start at 0 or above, or name the format")
        if size_wh and high > size_wh[index]:
            problem = f"{axis}2 is {escaped(high)} in an image {size_wh[index]} {('wide', 'high')[index]}{note}"
            do = f"give pixel xyxy within {size_wh[0]} x {size_wh[1]}, or name the unit and format"
            raise errors.BoxOutOfBounds(problem, do=do)
        if low >= high:
            problem = f"{axis}1 is {escaped(low)} and {axis}2 is {escaped(high)}: the box has no area{note}"
            raise errors.BoxEmpty(problem, do="give the top left corner, then the bottom right one, or name the format")


def _onto_edge(value: float, side: int) -> float:
    """Return the value, or the edge if only rounding moves it beyond."""
    nearest = min(max(value, 0.0), float(side))
    return nearest if abs(value - nearest) <= EDGE_TOLERANCE * side else value


def _choice(what: str, value: object, allowed: tuple[str, ...]) -> str:
    name = _SPELLINGS.get(value, value) if isinstance(value, str) else None
    if name not in allowed:
        raise errors.BoxFormatUnknown(f"the box {what} {escaped(value)} is unknown", do=f"use one of {', '.join(allowed)}")
    return str(name)
