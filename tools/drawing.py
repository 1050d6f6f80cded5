"""Drawings of named boxes and masks on a picture, with a caption below, and contact sheets."""

import math
from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region

# Okabe and Ito's palette for colour-blind readers, without its yellow.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MIN_SIDE = 512  # a smaller image is enlarged to keep labels legible

Corners: TypeAlias = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of a picture


def draw_regions(image: Image.Image, regions: Sequence[Region], caption: Sequence[str] = ()) -> Image.Image:
    """Draw every region's box, name and mask outline, and the caption on a white band below.

    image: RGB; a small one is enlarged by an integer factor.  Boxes and masks are in pixels of the image as given.
    """
    factor = max(1, -(-MIN_SIDE // max(image.size)))
    canvas = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
    _outline_all(canvas, regions)
    draw, line = ImageDraw.Draw(canvas), _line(canvas)
    corners = [_scaled(region.box.xyxy, factor) for region in regions]
    for region, box in zip(regions, corners, strict=True):
        draw.rectangle(box, outline=colour(region), width=line)
    _draw_names(draw, regions, corners, line, _font(max(14, round(max(canvas.size) / 32))))
    return _with_caption(canvas, caption) if caption else canvas


def draw_masks(image: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """Draw only the outline of every region's mask, without boxes and names.  image: RGB."""
    canvas = image.copy()
    _outline_all(canvas, regions)
    return canvas


def contact_sheet(pictures: Sequence[Image.Image], *, width: int = 640, gap: int = 16) -> Image.Image:
    """Arrange pictures in a nearly square grid; each is `width` pixels wide.  pictures: at least one."""
    columns = math.ceil(math.sqrt(len(pictures)))
    tiles = [each.resize((width, max(1, round(each.height * width / each.width))), Image.Resampling.LANCZOS) for each in pictures]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (columns * (width + gap) + gap, sum(heights) + gap * (len(rows) + 1)), "lightgrey")
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (gap + column * (width + gap), top))
        top += height + gap
    return sheet


def colour(region: Region) -> str:
    """Return the colour that a region has in every picture, as #RRGGBB."""
    return _COLOURS[(int(region.name.removeprefix("region")) - 1) % len(_COLOURS)]


def _line(canvas: Image.Image) -> int:
    """Return the line width in pixels."""
    return max(2, round(max(canvas.size) / 250))


def _outline_all(canvas: Image.Image, regions: Sequence[Region]) -> None:
    for region in regions:
        if region.mask is not None:
            _outline(canvas, region.mask, colour(region), _line(canvas))


def _outline(canvas: Image.Image, mask: Mask, colour: str, width: int) -> None:
    """Draw along the outside of a mask's edge; the mask's own pixels keep their colours, which a question may be about."""
    factor = canvas.width / mask.size_wh[0]
    more = width + 2
    x1, y1, x2, y2 = (int(value * factor) for value in mask.box.xyxy)
    around = (max(0, x1 - more), max(0, y1 - more), min(canvas.width, x2 + more), min(canvas.height, y2 + more))
    whole = Image.fromarray(mask.to_array().astype(np.uint8) * 255).resize(canvas.size, Image.Resampling.NEAREST).crop(around)
    grown = whole
    for _ in range(width):  # a single wide filter would take a hundred times as long
        grown = grown.filter(ImageFilter.MaxFilter(3))
    canvas.paste(colour, around, ImageChops.subtract(grown, whole))


def _draw_names(
    draw: ImageDraw.ImageDraw, regions: Sequence[Region], corners: Sequence[Corners], line: int, font: ImageFont.FreeTypeFont
) -> None:
    """Draw every region's name next to its box, above all boxes and, if possible, without covering another name."""
    occupied: list[Corners] = []
    for region, box in zip(regions, corners, strict=True):
        name = region.name if region.label is None else f"{region.name}: {region.label}"
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        place = _label_position(box, right - left + 2 * line, bottom - top + 2 * line, draw.im.size, occupied)
        occupied.append(place)
        draw.rectangle(place, fill=colour(region))
        draw.text((place[0] + line - left, place[1] + line - top), name, fill="white", font=font)


def _label_position(
    box: Corners, width: float, height: float, canvas_wh: tuple[int, int], occupied: Sequence[Corners]
) -> Corners:
    """Return a free position for a name: above its box, inside or below; never outside the picture."""
    x1, y1, x2, y2 = box
    corners = [(x1, y1 - height), (x1, y1), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2 - height)]
    inside = [(x, y) for x, y in corners if 0 <= y <= canvas_wh[1] - height] or [(x1, y1)]
    lefts = [(max(0.0, min(x, canvas_wh[0] - width)), y) for x, y in inside]
    places = [(x, y, x + width, y + height) for x, y in lefts]
    return next((place for place in places if not any(_intersect(place, other) for other in occupied)), places[0])


def _intersect(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _scaled(box: Corners, factor: int) -> Corners:
    x1, y1, x2, y2 = (value * factor for value in box)
    return x1, y1, x2, y2


def _with_caption(picture: Image.Image, caption: Sequence[str]) -> Image.Image:
    size = max(14, round(picture.width / 34))
    font = _font(size)
    lines = [wrapped for text in caption for wrapped in _wrap(text, font, picture.width - 2 * size)]
    band = Image.new("RGB", (picture.width, round(size * (1.4 * len(lines) + 1))), "white")
    draw = ImageDraw.Draw(band)
    for index, text in enumerate(lines):
        draw.text((size, round(size * (0.5 + 1.4 * index))), text, fill="black", font=font)
    whole = Image.new("RGB", (picture.width, picture.height + band.height))
    whole.paste(picture, (0, 0))
    whole.paste(band, (0, picture.height))
    return whole


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break text into lines of at most `width` pixels; a longer word gets a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
