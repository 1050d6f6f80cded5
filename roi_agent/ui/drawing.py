"""Boxes in the browser, and their regions."""

import math
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from PIL import Image

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import MAX_REGIONS, Region
from roi_agent.model.utils.messages import escaped
from roi_agent.model.utils.notebook_html import thumbnail
from roi_agent.tools.drawing import colour, draw_masks, draw_regions
from roi_agent.ui.work import Work

CANVAS, DRAWN = "canvas.webp", "drawn.webp"  # among a visitor's files
SIDE = 1280  # maximum side of the picture that is sent to the browser, in pixels
_SAME = 1.5  # pixels of that picture: rounding in the browser moves an unedited box by less
_DIM = "#94A3B8"  # colour of boxes that are not highlighted
_HANDLE = re.compile(r"region[1-9][0-9]*")


def factor(work: Work) -> float:
    """Return the scale from pixels of the image to pixels of the picture in the browser."""
    return min(1.0, SIDE / max(work.image.size_wh))


def picture(work: Work) -> Image.Image:
    """Return the image with the masks of regions, at the browser's size; boxes are drawn there."""
    return thumbnail(draw_masks(work.image.pixels, work.regions), SIDE)


def marks(work: Work) -> dict[str, Any]:
    """Return the work's state for the browser: its key, its picture's size, and boxes as in `boxes`.

    version: increases with every call.  acknowledged: the number of the last drawing that the boxes contain, by page.
    picture: the address of the picture with masks.  drawn: of the one with boxes as well.  Addresses change with the pictures.
    """
    size = [max(1, round(side * factor(work))) for side in work.image.size_wh]
    with work.lock:
        work.version += 1
        values = {
            "work": work.key,
            "version": work.version,
            "acknowledged": dict(work.acknowledged),
            "size": size,
            "boxes": boxes(work),
        }
        masked = "-".join(region.name for region in work.regions if region.mask is not None)
        content = repr([(region.name, region.box, region.label) for region in work.regions] + [work.highlighted])
        values["picture"] = f"{work.files}/{CANVAS}?{work.key}-{masked}"
        values["drawn"] = f"{work.files}/{DRAWN}?{work.key}-{sha256(content.encode()).hexdigest()[:16]}"
        return values


def drawn(work: Work) -> Image.Image:
    """Return the image with the regions' boxes, names and masks; only the highlighted region, if there is one."""
    regions = [each for each in work.regions if work.highlighted in (None, each.name)]
    return thumbnail(draw_regions(work.image.pixels, regions), SIDE)


def boxes(work: Work) -> list[dict[str, Any]]:
    """Return the regions in the drawing component's form and order, newest first."""
    scale, highlighted = factor(work), work.highlighted
    return [
        dict(zip(("xmin", "ymin", "xmax", "ymax"), (value * scale for value in region.box.xyxy), strict=True))
        | {
            "label": _caption(region, highlighted),
            "color": _rgb(_DIM if highlighted not in (None, region.name) else colour(region)),
        }
        for region in reversed(work.regions)
    ]


def _caption(region: Region, highlighted: str | None) -> str:
    """Return the label of a region's box."""
    named = f"{region.name}: {region.label}" if region.label else region.name
    return f"\u25b6 {named}" if region.name == highlighted else named


def _rgb(hexadecimal: str) -> str:
    """Return a colour in the drawing component's form."""
    red, green, blue = bytes.fromhex(hexadecimal.removeprefix("#"))
    return f"rgb({red}, {green}, {blue})"


def edit(work: Work, items: object) -> None:
    """Apply drawn, moved and deleted boxes.

    items: all boxes in the browser, newest first, each with "label" and xmin, ymin, xmax, ymax in pixels of its picture.
        A moved draft keeps its handle; a region that has been used is hidden, and its new box is a draft.
    Error: InvalidSetting; nothing is then changed.
    """
    with work.lock:
        found = _read(work, items)
        remaining = {region.name: region for region in work.regions}
        matched = [(box, _match(box, label, remaining, _SAME / factor(work))) for box, label in found]
        _delete(work, remaining.values())
        for box, region in reversed(matched):
            if region is None:
                _add(work, box, None)
            elif not _near(box, region.box, _SAME / factor(work)):
                _move(work, region, box)


def delete(work: Work, name: str) -> None:
    """Remove a region from the page; its handle is not reused if the region has been used."""
    with work.lock:
        _delete(work, [region for region in work.regions if region.name == name])


def rename(work: Work, name: str, label: str) -> None:
    """Label a drawn box; a region that has been used keeps its label and is hidden, and a draft gets the new one."""
    text = " ".join(label.split())[:80] or None
    with work.lock:
        for region in work.regions:
            if region.name == name and region.label != text:
                number = _draft_number(work, name)
                if number is not None:
                    work.drafts[number] = (region.box, text)
                else:
                    work.hidden.add(name)
                    _add(work, region.box, text)


def highlight(work: Work, name: str) -> None:
    """Toggle the highlight of a region; a hidden region is shown again."""
    with work.lock:
        back = name in work.hidden
        work.hidden.discard(name)
        known = name in {region.name for region in work.regions}
        work.highlighted = name if known and (work.highlighted != name or back) else None


def _read(work: Work, items: object) -> list[tuple[Box, str]]:
    if not isinstance(items, Sequence) or isinstance(items, str) or len(items) > MAX_REGIONS:
        raise InvalidSetting(f"the boxes are {escaped(items)}", do=f"draw at most {MAX_REGIONS}")
    found = []
    for item in items:
        box = _box(work, item) if isinstance(item, Mapping) else None
        if box is not None:
            found.append((box, str(item.get("label") or "")))
    return found


def _box(work: Work, item: Mapping[str, Any]) -> Box | None:
    """Convert a box to pixels of the image, clipped to it; None for a box without area, such as a click."""
    try:
        corners = [float(item[key]) / factor(work) for key in ("xmin", "ymin", "xmax", "ymax")]
    except (KeyError, TypeError, ValueError):
        raise InvalidSetting(f"a box is {escaped(item)}", do="draw it again") from None
    if not all(map(math.isfinite, corners)):
        raise InvalidSetting(f"a box is {escaped(item)}", do="draw it again")
    width, height = work.image.size_wh
    x1, x2 = (min(max(round(value, 1), 0), width) for value in corners[::2])
    y1, y2 = (min(max(round(value, 1), 0), height) for value in corners[1::2])
    return Box(x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


def _match(box: Box, label: str, remaining: dict[str, Region], tolerance: float) -> Region | None:
    """Remove and return a box's region from those remaining, by its handle or by its position."""
    handle = _HANDLE.search(label)
    if handle and handle[0] in remaining:
        return remaining.pop(handle[0])
    place = next((name for name, each in remaining.items() if _near(box, each.box, tolerance)), None)
    return remaining.pop(place) if place else None


def _near(one: Box, other: Box, tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(one.xyxy, other.xyxy, strict=True))


def _draft_number(work: Work, name: str) -> int | None:
    names = [region.name for region in work.drafted]
    return names.index(name) if name in names else None


def _delete(work: Work, gone: Any) -> None:
    """Delete regions: the last drafts entirely, others by hiding them, because later handles must not change."""
    names = {region.name for region in gone}
    while work.drafts and work.drafted[-1].name in names:
        names.discard(work.drafted[-1].name)
        work.drafts.pop()
    if names & {region.name for region in work.drafted}:
        work.settle()
    work.hidden |= names


def _move(work: Work, region: Region, box: Box) -> None:
    number = _draft_number(work, region.name)
    if number is not None:
        work.drafts[number] = (box, region.label)
    else:
        work.hidden.add(region.name)
        _add(work, box, region.label)


def _add(work: Work, box: Box, label: str | None) -> None:
    """Add a draft; a box that was drawn before and deleted gets its old handle back."""
    for region in work.workspace.regions():
        if (region.box, region.label, region.source) == (box, label, "user"):
            work.show([region])
            return
    if (box, label) not in work.drafts:
        work.drafts.append((box, label))
