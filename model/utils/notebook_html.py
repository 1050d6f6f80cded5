"""HTML representations for notebooks, with thumbnails.

Texts may come from images and from models, so `Markup.format` escapes every value.  The only colour is a grey that is visible
on white and on black, for light and dark mode.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from markupsafe import Markup
from PIL import Image

SIDE = 480  # maximum side of a picture, in pixels
_CROP_SIDE = 128  # of a region's picture
_MAX_ROWS = 50  # rows of a table

_LINE = "border:1px solid rgba(128,128,128,.4)"
_PICTURE = Markup('<img src="{}" alt="{}" style="display:block;max-width:100%;{}">')
_TABLE = Markup('<table style="border-collapse:collapse">{}{}</table>')
_ROW = Markup("<tr>{}</tr>")
_CELL = Markup('<{0} style="text-align:left;vertical-align:middle;padding:.25em .75em;{1}">{2}</{0}>')


class ShownRegion(Protocol):
    """The attributes of a region in a table, such as those of `Region`."""

    @property
    def name(self) -> str:
        """Its handle."""

    @property
    def label(self) -> str | None:
        """Its class or description."""

    @property
    def score(self) -> float | None:
        """The score of its source."""

    @property
    def box(self) -> Any:
        """A `Box`."""

    @property
    def mask(self) -> Any:
        """A `Mask`, or None."""


def stacked(*parts: str) -> str:
    """Return the parts one below another, without empty ones."""
    inner = Markup("").join(Markup('<div style="margin:.25em 0">{}</div>').format(part) for part in parts if part)
    return str(Markup('<div style="max-width:60em;overflow-wrap:anywhere">{}</div>').format(inner))


def strong(text: str) -> Markup:
    """Return emphasised text."""
    return Markup('<span style="font-size:1.15em;font-weight:600">{}</span>').format(text)


def soft(text: str) -> Markup:
    """Return muted text."""
    return Markup('<span style="opacity:.75">{}</span>').format(text)


def notes(texts: Iterable[str]) -> Markup:
    """Return a line for each note."""
    return Markup("<br>").join(soft(f"note: {text}") for text in texts)


def picture(image: Image.Image, text: str, side: int = SIDE, style: str = "") -> Markup:
    """Return an embedded thumbnail.  text: the alternative text."""
    return _PICTURE.format(data_url(image, side), text, style)


def data_url(image: Image.Image, side: int = SIDE) -> str:
    """Return a thumbnail as a data URL, PNG or JPEG, whichever is smaller."""
    files = []
    for format, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 88})):
        file = io.BytesIO()
        thumbnail(image, side).save(file, format, **options)
        files.append((len(file.getvalue()), format.lower(), file.getvalue()))
    _, kind, content = min(files)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """Return the picture, scaled down so that no side is longer than `side` pixels."""
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image if factor >= 1 else image.resize(size, Image.Resampling.LANCZOS)


def png(image: Image.Image, side: int) -> bytes:
    """Return a thumbnail as the bytes of a PNG file."""
    file = io.BytesIO()
    thumbnail(image, side).save(file, "PNG")
    return file.getvalue()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Return a table; a long one is cut and followed by the number of remaining rows."""
    top = _ROW.format(Markup("").join(_CELL.format("th", _LINE, name) for name in head))
    body = Markup("").join(
        _ROW.format(Markup("").join(_CELL.format("td", _LINE, cell) for cell in row)) for row in rows[:_MAX_ROWS]
    )
    more = soft(f"... and {len(rows) - _MAX_ROWS} more") if len(rows) > _MAX_ROWS else ""
    return _TABLE.format(top, body) + more


def regions_table(
    regions: Sequence[ShownRegion], pixels: Image.Image | None = None, columns: Mapping[str, Sequence[object]] | None = None
) -> Markup:
    """Return a table with a row for each region, and its picture if the image is given.

    columns: further columns by heading, with a value for each region.
    """
    if not regions:
        return soft("no region")
    wanted: dict[str, Sequence[object]] = {"": [crop(each, pixels) for each in regions[:_MAX_ROWS]]} if pixels else {}
    if "" in wanted:  # rows that are not shown need no picture
        wanted[""] = [*wanted[""], *[""] * (len(regions) - len(wanted[""]))]
    wanted |= {"region": [each.name for each in regions]}
    if any(each.label for each in regions):
        wanted |= {"label": [each.label or "" for each in regions]}
    if any(each.score is not None for each in regions):
        wanted |= {"score": ["" if each.score is None else f"{each.score:.2f}" for each in regions]}
    if any(each.mask for each in regions):
        wanted |= {"mask": [f"{each.mask.area} px" if each.mask else "" for each in regions]}
    wanted |= dict(columns or {})
    wanted |= {"box": [", ".join(f"{round(value, 1):g}" for value in each.box.xyxy) for each in regions]}
    return table(list(wanted), list(zip(*wanted.values(), strict=True)))


def crop(region: ShownRegion, pixels: Image.Image) -> Markup:
    """Return a picture of the box."""
    x1, y1, x2, y2 = region.box.xyxy
    part = pixels.crop((int(x1), int(y1), max(int(x1) + 1, round(x2)), max(int(y1) + 1, round(y2))))
    return picture(part, region.name, _CROP_SIDE, "height:4em;width:auto;max-width:8em;object-fit:contain")
