"""Notebook helpers: drawing boxes with the mouse, and a gallery of regions with their answers.

Images, regions, answers, workspaces and traces have rich displays of their own and need no function here.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from roi_agent.model.errors import InvalidSetting, MissingExtra
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.answers import Answer, Choice
from roi_agent.model.utils.notebook_html import regions_table, stacked, thumbnail

if TYPE_CHECKING:
    from roi_agent.tools.ask import Asked

_SIDE = 1600  # maximum side of the picture that is sent to the browser, in pixels
# The whole picture is visible, so that a box of any size can be drawn; labels of boxes at its top overflow above it.
_STYLE = """
.roi-agent-pick img { max-height: max(480px, 75vh); }
.roi-agent-pick svg { overflow: visible; }
.roi-agent-pick .image { margin-top: 14px; }
"""
_BOX_KEYS = ("x", "y", "width", "height")  # of a box in the widget


def pick(image: object, regions: object = (), labels: Sequence[str] = ("thing",)) -> "Picker":
    """Draw boxes on an image with the mouse; the last line of a cell shows the widget.

    image: anything that `load_image` accepts.  regions: shown from the start, to be moved, relabelled or deleted: anything
        that `parse_regions` accepts.  labels: allowed for boxes, in addition to those of the regions.
    The result stays up to date while boxes are drawn, and is accepted wherever regions are:

        boxes = pick("photo.jpg", labels=["cup", "plate"])     # in one cell: boxes
        model.ask("photo.jpg", "What is <region1>?", boxes)    # in a later one

    Errors: MissingExtra without the extra `notebook`, and those of `load_image` and `parse_regions`.
    """
    loaded = load_image(image)
    return Picker(loaded, parse_regions(regions, size_wh=loaded.size_wh), labels)


class Picker(Sequence[Region]):
    """A sequence of the currently drawn regions; `boxes` are their corners, in pixels of the original image.

    widget: a `BBoxWidget`, whose coordinates are pixels of the picture in the browser.
    A given region that is not edited is returned unchanged, under a new name; one that is only relabelled keeps its mask.
    A box without area, as left by a click, is ignored; one that extends over the edge is clipped.
    """

    def __init__(self, image: LoadedImage, regions: Sequence[Region], labels: Sequence[str]) -> None:
        if isinstance(labels, str) or not labels or not all(isinstance(each, str) and each for each in labels):
            raise InvalidSetting(f"the labels are {labels!r}", do="give at least one text that is not empty")
        preview = thumbnail(image.pixels, _SIDE)
        self.image, self._factors = image, (image.pixels.width / preview.width, image.pixels.height / preview.height)
        names = [each.label or labels[0] for each in regions]
        drawn = [self._drawn(region.box, name) for region, name in zip(regions, names, strict=True)]
        self._given = list(zip(drawn, regions, strict=True))
        self.widget = _widget(preview, list(dict.fromkeys([*labels, *names])), drawn)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The currently drawn regions, named region1, region2, ... in drawing order, with labels."""
        given = list(self._given)
        found = [region for each in self.widget.bboxes if (region := self._given_region(each, given) or self._new_region(each))]
        return tuple(replace(region, name=f"region{number}") for number, region in enumerate(found, start=1))

    @property
    def boxes(self) -> list[list[float]]:
        """The currently drawn boxes, as x1, y1, x2, y2 in pixels of the original image."""
        return [list(region.box.xyxy) for region in self.regions]

    @overload
    def __getitem__(self, index: int) -> Region: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Region, ...]: ...
    def __getitem__(self, index: int | slice) -> Region | tuple[Region, ...]:
        return self.regions[index]

    def __len__(self) -> int:
        return len(self.regions)

    def __repr__(self) -> str:
        return f"<Picker: {len(self)} regions>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def _drawn(self, box: Box, label: str) -> dict[str, Any]:
        """Convert a box to the widget's form."""
        (x, y, width, height), (across, down) = box.xywh, self._factors
        return {"x": x / across, "y": y / down, "width": width / across, "height": height / down, "label": label}

    @staticmethod
    def _given_region(drawn: dict[str, Any], given: list[tuple[dict[str, Any], Region]]) -> Region | None:
        """Remove and return the given region at this place; None if there is none."""
        # The widget rounds the corner of a box that is clicked to whole pixels.
        at_place = [each for each in given if all(abs(each[0][key] - drawn[key]) <= 0.5 for key in _BOX_KEYS)]
        if not at_place:
            return None
        label = drawn.get("label") or None
        found = next((each for each in at_place if each[0]["label"] == label), at_place[0])
        given.remove(found)
        region = replace(found[1], label=label)
        # A score belongs to the source's own label.
        return region if found[0]["label"] == label else replace(region, score=None, source="user", prompt=None)

    def _new_region(self, drawn: dict[str, Any]) -> Region | None:
        """Return a drawn or moved box as a region; None if it is outside the image."""
        box = self._box(drawn)
        return Region("region1", box, label=drawn.get("label") or None) if box else None

    def _box(self, drawn: dict[str, Any]) -> Box | None:
        """Convert a box of the widget to pixels of the image."""
        (across, down), (width, height) = self._factors, self.image.size_wh
        x1, y1 = max(0.0, drawn["x"] * across), max(0.0, drawn["y"] * down)
        x2 = min(float(width), (drawn["x"] + drawn["width"]) * across)
        y2 = min(float(height), (drawn["y"] + drawn["height"]) * down)
        return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def gallery(image: object, items: "Iterable[Region | Answer | Choice | Asked]") -> "Gallery":
    """Show regions as a table, each with its picture and its answer, such as the result of `ask_each`.

    image: anything that `load_image` accepts.  items: regions of it, or answers, each about one region.
    Errors: InvalidSetting for an answer about none or several, BoxOutOfBounds for regions of another image.
    """
    loaded, rows = load_image(image), [_row(item) for item in items]
    regions = [region for region, _, _ in rows]
    for region in regions:
        region.box.checked_within(loaded.size_wh)
    has_answers = any(text is not None for _, text, _ in rows)
    columns = {"answer": [text or "" for _, text, _ in rows], "confidence": [sure for _, _, sure in rows]} if has_answers else {}
    return Gallery(loaded, regions, columns)


class Gallery:
    """A table that a notebook shows."""

    def __init__(self, image: LoadedImage, regions: Sequence[Region], columns: Mapping[str, Sequence[object]]) -> None:
        self._image, self._regions, self._columns = image, regions, columns

    def _repr_html_(self) -> str:
        return stacked(regions_table(self._regions, self._image.pixels, self._columns))


def _row(item: "Region | Answer | Choice | Asked") -> tuple[Region, str | None, str]:
    """Return a region, its answer, and the confidence."""
    if isinstance(item, Region):
        return item, None, ""
    if len(item.regions) != 1:
        raise InvalidSetting(f"an answer is about {len(item.regions)} regions", do="give answers about one region each")
    answer = item if isinstance(item, Answer | Choice) else item.answer
    return item.regions[0], answer.text, f"{answer.confidence:.2f}"


def _widget(picture: Any, labels: list[str], drawn: list[dict[str, Any]]) -> Any:
    """Create the widget with a picture and boxes.  Error: MissingExtra."""
    try:
        from jupyter_bbox_widget import BBoxWidget
    except ImportError:
        raise MissingExtra("drawing boxes needs jupyter_bbox_widget", do="pip install 'roi-agent[notebook]'") from None
    file = io.BytesIO()
    picture.save(file, "PNG")
    widget = _with_own_script(BBoxWidget)(classes=labels, label=labels[0], bboxes=drawn, hide_buttons=True)
    widget.image_bytes = file.getvalue()  # set afterwards: the constructor accepts only a file name
    return widget


@cache
def _with_own_script(widget: Any) -> Any:
    """Return the widget's class with our script wrapped around its own (see notebook.js)."""
    ours = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    script = f"const THEIRS = {json.dumps(widget._esm)};\n{ours}"
    return type("PickWidget", (widget,), {"_esm": script, "_css": widget._css + _STYLE})
