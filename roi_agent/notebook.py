"""In notebooks: boxes drawn with the mouse, and many regions with their answers at one sight.

Images, regions, answers, workspaces and traces show themselves in a notebook; nothing need be called for that.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from roi_agent.model.answers import Answer, Choice
from roi_agent.model.boxes import Box
from roi_agent.model.display import regions_table, shrunk, stacked
from roi_agent.model.errors import InvalidSetting, MissingExtra
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.regions import Region, parse_regions

if TYPE_CHECKING:
    from roi_agent.tools.ask import Asked

_SIDE = 1600  # pixels of the picture that is sent to the browser, at most


def pick(image: object, regions: object = (), labels: Sequence[str] = ("thing",)) -> "Picker":
    """Draw boxes on an image with the mouse; the last line of a cell shows the widget.

    image: whatever `load_image` takes.  regions: that stand on it from the start, to be moved, renamed or deleted: whatever
        `parse_regions` takes.  labels: what boxes may be called; those of the regions are among them.
    What is returned stays up to date while boxes are drawn, and is taken wherever regions are:

        boxes = pick("photo.jpg", labels=["cup", "plate"])     # in one cell: boxes
        model.ask("photo.jpg", "What is <region1>?", boxes)    # in a later one

    Errors: MissingExtra without the extra `notebook`, those of `load_image` and of `parse_regions`.
    """
    loaded = load_image(image)
    return Picker(loaded, parse_regions(regions, size_wh=loaded.size_wh), labels)


class Picker(Sequence[Region]):
    """A sequence of the regions that are drawn at the moment; `boxes` are their corners, in pixels of the original image.

    widget: the `BBoxWidget`, whose coordinates are pixels of the picture that the browser has.
    A box without area, such as a click leaves, does not count; one that reaches over the edge is cut there.
    """

    def __init__(self, image: LoadedImage, regions: Sequence[Region], labels: Sequence[str]) -> None:
        if isinstance(labels, str) or not labels or not all(isinstance(each, str) and each for each in labels):
            raise InvalidSetting(f"the labels are {labels!r}", do="give at least one text that is not empty")
        sent = shrunk(image.pixels, _SIDE)
        self.image, self._factors = image, (image.pixels.width / sent.width, image.pixels.height / sent.height)
        names = [each.label or labels[0] for each in regions]
        drawn = [self._drawn(region.box, name) for region, name in zip(regions, names, strict=True)]
        self.widget = _widget(sent, list(dict.fromkeys([*labels, *names])), drawn)

    @property
    def regions(self) -> tuple[Region, ...]:
        """What is drawn now, named region1, region2, ... in the order of drawing, with labels."""
        found = ((self._box(each), each.get("label") or None) for each in self.widget.bboxes)
        kept = [(box, label) for box, label in found if box]
        return tuple(Region(f"region{number}", box, label=label) for number, (box, label) in enumerate(kept, start=1))

    @property
    def boxes(self) -> list[list[float]]:
        """What is drawn now, as x1, y1, x2, y2 in pixels of the original image."""
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
        """A box as the widget holds it."""
        (x, y, width, height), (across, down) = box.xywh, self._factors
        return {"x": x / across, "y": y / down, "width": width / across, "height": height / down, "label": label}

    def _box(self, drawn: dict[str, Any]) -> Box | None:
        """A box of the widget in pixels of the image; None where nothing of it lies in the image."""
        (across, down), (width, height) = self._factors, self.image.size_wh
        x1, y1 = max(0.0, drawn["x"] * across), max(0.0, drawn["y"] * down)
        x2 = min(float(width), (drawn["x"] + drawn["width"]) * across)
        y2 = min(float(height), (drawn["y"] + drawn["height"]) * down)
        return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def gallery(image: object, items: "Iterable[Region | Answer | Choice | Asked]") -> "Gallery":
    """Every region beside its picture, and beside what was answered about it: what `ask_each` gives, as a table.

    image: whatever `load_image` takes.  items: regions of it, or answers, each about one region.
    Errors: InvalidSetting for an answer about none or several, BoxOutOfBounds for regions of another image.
    """
    loaded, rows = load_image(image), [_row(item) for item in items]
    regions = [region for region, _, _ in rows]
    for region in regions:
        region.box.checked_within(loaded.size_wh)
    said = any(text is not None for _, text, _ in rows)
    columns = {"answer": [text or "" for _, text, _ in rows], "confidence": [sure for _, _, sure in rows]} if said else {}
    return Gallery(loaded, regions, columns)


class Gallery:
    """A table that a notebook shows."""

    def __init__(self, image: LoadedImage, regions: Sequence[Region], columns: Mapping[str, Sequence[object]]) -> None:
        self._image, self._regions, self._columns = image, regions, columns

    def _repr_html_(self) -> str:
        return stacked(regions_table(self._regions, self._image.pixels, self._columns))


def _row(item: "Region | Answer | Choice | Asked") -> tuple[Region, str | None, str]:
    """A region, what was answered about it, and how surely."""
    if isinstance(item, Region):
        return item, None, ""
    if len(item.regions) != 1:
        raise InvalidSetting(f"an answer is about {len(item.regions)} regions", do="give answers about one region each")
    answer = item if isinstance(item, Answer | Choice) else item.answer
    return item.regions[0], answer.text, f"{answer.confidence:.2f}"


def _widget(picture: Any, labels: list[str], drawn: list[dict[str, Any]]) -> Any:
    """The widget with a picture and boxes.  Error: MissingExtra."""
    try:
        from jupyter_bbox_widget import BBoxWidget
    except ImportError:
        raise MissingExtra("drawing boxes needs jupyter_bbox_widget", do="pip install 'roi-agent[notebook]'") from None
    file = io.BytesIO()
    picture.save(file, "PNG")
    widget = BBoxWidget(classes=labels, label=labels[0], bboxes=drawn, hide_buttons=True)
    widget.image_bytes = file.getvalue()  # set after it is made: it takes bytes by the name of a file only
    return widget
