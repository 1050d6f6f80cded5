"""Regions: boxes and masks under stable names, and the parser for a question's regions."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from roi_agent.model import errors
from roi_agent.model.geometry.boxes import BYTES, FORMATS, FOUR_NUMBERS, UNITS, Box, checked_size
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.utils.messages import escaped
from roi_agent.model.utils.unicode_text import check_unicode

__all__ = ["FORMATS", "MAX_REGIONS", "UNITS", "Box", "Region", "parse_regions", "small_box_warnings"]

MAX_REGIONS = 200

_NAME = re.compile(r"region[1-9][0-9]{0,3}")
_KEYS = ("name", "box", "format", "unit", "mask", "label", "score", "source", "prompt", "image", "parent")
_TEXTS = ("label", "prompt", "image", "parent")


@dataclass(frozen=True, slots=True)
class Region:
    """A box of one image under a stable name, with its origin.

    name: region1 to region9999.  label: what it shows, according to its source.  score: the source's confidence.
    source: "user", or the tool that found it.  prompt: the words or points that it was found by.
    image: the handle of its image, such as image1, if there are several.  parent: the region it was found in.
    mask: its pixels; the box is then the mask's tight box unless another was given.
    Error: InvalidSetting for an invalid field.
    """

    name: str
    box: Box
    label: str | None = None
    score: float | None = None
    source: str = "user"
    prompt: str | None = None
    image: str | None = None
    parent: str | None = None
    mask: Mask | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise errors.InvalidSetting(f"a region is named {escaped(self.name)}", do="use region1, region2, ... region9999")
        if not isinstance(self.box, Box):
            raise errors.InvalidSetting(f"the box of {self.name} is a {type(self.box).__name__}", do="use Box.parse")
        for key in _TEXTS:
            if not isinstance(getattr(self, key), str | None):
                problem = f"{self.name} has the {key} {escaped(getattr(self, key))}"
                raise errors.InvalidSetting(problem, do="give a text, or none")
            check_unicode(getattr(self, key) or "", f"the {key} of {self.name}")
        if not isinstance(self.source, str):
            raise errors.InvalidSetting(f"{self.name} has the source {escaped(self.source)}", do="give a text, such as user")
        check_unicode(self.source, f"the source of {self.name}")
        if self.score is not None:
            if isinstance(self.score, bool) or not isinstance(self.score, Real) or not math.isfinite(self.score):
                raise errors.InvalidSetting(
                    f"{self.name} has the score {escaped(self.score)}", do="give a finite number, or none"
                )
            object.__setattr__(self, "score", float(self.score))

    def to_dict(self) -> dict[str, object]:
        """The region as `parse_regions` reads it; a mask as COCO's run lengths."""
        wire: dict[str, object] = {"name": self.name, "box": list(self.box.xyxy), "format": "xyxy", "unit": "pixel"}
        wire |= {"label": self.label, "score": self.score, "source": self.source}
        wire |= {key: getattr(self, key) for key in ("prompt", "image", "parent") if getattr(self, key) is not None}
        return wire | ({"mask": self.mask.to_coco()} if self.mask else {})

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import regions_table, stacked

        return stacked(regions_table([self]))


def parse_regions(
    regions: object, *, size_wh: tuple[int, int], format: str = "xyxy", unit: str = "pixel", max_regions: int = MAX_REGIONS
) -> tuple[Region, ...]:
    """Parse the regions of one question, name them, and check them against their image.

    regions: a list whose items are each a Box, a Mask, a Region, four numbers, or a mapping with "box" or "mask" (an array
        (H, W) or COCO's run lengths) and perhaps "name", "format", "unit", "label", "score", "source", "prompt"; or an
        array or tensor (N, 4). None means no regions.
    size_wh: width and height of the upright image in pixels.
    format, unit: of four numbers whose item does not name them (see `Box.parse`).
    An item without a name is named by its position: region1, region2, ...
    Errors: those of Box.parse, MaskInvalid, TooManyRegions, and InvalidSetting for a bad or repeated name or an unknown key.
    """
    items = enumerate(_items(regions, max_regions), start=1)
    found = tuple(_region(item, f"region{position}", size_wh, format, unit) for position, item in items)
    counts = Counter(region.name for region in found)
    if repeated := [name for name, count in counts.items() if count > 1]:
        problem = f"{counts[repeated[0]]} items are called {repeated[0]}"
        raise errors.InvalidSetting(problem, do="name every region, each differently, or none of them")
    return found


def small_box_warnings(regions: Sequence[Region], *, size_wh: tuple[int, int], grid_wh: tuple[int, int]) -> list[str]:
    """Return a warning for each region that is narrower or lower than one feature cell.

    size_wh: the image in pixels.  grid_wh: feature cells across and down; a cell is image side / grid.
    """
    (width, height), (columns, rows) = checked_size(size_wh), checked_size(grid_wh, "a feature grid")
    cell_w, cell_h = width / columns, height / rows
    warnings = []
    for region in regions:
        box = region.box
        if box.width < cell_w or box.height < cell_h:
            text = f"{region.name} is {box.width:.6g} x {box.height:.6g} pixels, smaller than one feature cell "
            text += f"({cell_w:.6g} x {cell_h:.6g} pixels): the answer may describe its surroundings; zoom in first"
            fractions = max(box.xyxy) <= 1 and width > 2 and height > 2
            warnings.append(text + ("; if these are fractions, name the unit: normalised" if fractions else ""))
    return warnings


def _items(regions: object, max_regions: int) -> Sequence[object]:
    """Return the list of regions, after checking its length."""
    if regions is None:
        return ()
    if hasattr(regions, "tolist") and not isinstance(regions, memoryview):
        shape = tuple(getattr(regions, "shape", ()))
        if len(shape) != 2 or (shape[0] > 0 and shape[1] != 4):
            raise errors.BoxFormatUnknown(f"the regions are an array of shape {shape}", do="give boxes of shape (N, 4)")
    elif not isinstance(regions, Sequence) or isinstance(regions, BYTES):
        raise errors.BoxFormatUnknown(f"the regions are a {type(regions).__name__}", do="give a list of regions")
    count = len(regions)  # type: ignore[arg-type]  # arrays count their rows
    if count > max_regions:
        raise errors.TooManyRegions(f"{count} regions; at most {max_regions} are allowed", do="split them over several questions")
    if not isinstance(regions, Sequence):
        return list(regions.tolist())
    if count and all(isinstance(item, Real) for item in regions):
        raise errors.BoxFormatUnknown(f"the regions are {count} bare numbers", do="give a list of boxes: [[x1, y1, x2, y2]]")
    return regions


def _region(item: object, default_name: str, size_wh: tuple[int, int], format: str, unit: str) -> Region:
    """Parse one item of a list of regions; error messages start with the region's name."""
    given: Mapping[str, Any] = item if isinstance(item, Mapping) else {"mask" if isinstance(item, Mask) else "box": item}
    if isinstance(item, Region):
        given = item.to_dict() | {"box": item.box, "mask": item.mask}
    if unknown := [key for key in given if key not in _KEYS]:
        raise errors.InvalidSetting(f"{default_name} has the unknown key {escaped(unknown[0])}", do=f"use {', '.join(_KEYS)}")
    # A field that is None counts as missing: JSON writers often send every field they know.
    wire = {key: value for key, value in given.items() if value is not None}
    if not {"box", "mask"} & set(wire):
        raise errors.BoxFormatUnknown(f"{default_name} has no box", do=f"under 'box', {FOUR_NUMBERS}")
    try:
        mask = _mask(wire["mask"], size_wh) if "mask" in wire else None
        format, unit = wire.get("format", format), wire.get("unit", unit)
        place = wire["box"] if mask is None or "box" in wire else mask.box
        box = Box.parse(place, format=format, unit=unit, size_wh=size_wh)
        if mask is not None and "box" in wire and not mask.intersects(box):
            raise errors.MaskInvalid("the mask has no pixel in the box", do="give the box of the mask, or only the mask")
    except errors.UserError as error:
        raise type(error)(f"{default_name}: {error.problem}", do=error.do) from None
    texts = {key: wire[key] for key in ("label", "score", "source", "prompt", "image", "parent") if key in wire}
    return Region(wire.get("name", default_name), box, mask=mask, **texts)


def _mask(given: object, size_wh: tuple[int, int]) -> Mask:
    """Return a mask of the image's size, from any supported form."""
    if not isinstance(given, Mask):
        given = Mask.from_coco(given) if isinstance(given, Mapping) else Mask.from_array(given)
    if given.size_wh != tuple(size_wh):
        problem = f"the mask is {given.size_wh[0]} x {given.size_wh[1]} pixels, and the image {size_wh[0]} x {size_wh[1]}"
        raise errors.MaskInvalid(problem, do="give a mask of the image's size")
    return given
