"""Pictures for people and for planners that see: numbered boxes and masks on an image, crops, and enlarged parts.

What was asked and answered may stand below a picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import shown
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import ImageName, RegionName, Workspace

# Okabe and Ito's palette, without its yellow: told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MIN_SIDE = 512  # a smaller image is enlarged, so that numbers stay legible
_MAX_SIDE = 4096  # pixels of an enlarged part
_SHOWN_SIDE, _SHOWN_IMAGES = 768, 6  # in a notebook, at most

Corners: TypeAlias = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of a picture


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture to look at, mode RGB; the image of the workspace that it shows; and the regions drawn on it."""

    picture: Image.Image
    image: WorkspaceImage
    regions: tuple[Region, ...]

    def _repr_png_(self) -> bytes:
        from roi_agent.model.utils.display import png

        return png(self.picture, _SHOWN_SIDE)


def overview(workspace: Workspace, *, image: ImageName = None, regions: Sequence[RegionName] | None = None) -> View:
    """An image with its regions drawn and named, all of them or those given.  Errors: UnknownImage, UnknownRegion."""
    if regions and image is None:
        image = workspace.region(regions[0]).image
    seen = workspace.image(image)
    chosen = workspace.regions(seen) if regions is None else workspace.pick(regions)
    if elsewhere := [each for each in chosen if each.image != (seen.parent or seen.name)]:
        problem = f"{elsewhere[0].name} lies in {elsewhere[0].image}, not in {seen.name}"
        raise InvalidSetting(problem, do="name regions of one image")
    placed = tuple(each for region in chosen if (each := _seen_in(workspace, region, seen)) is not None)
    return View(draw_regions(seen.pixels, placed), seen, placed)


def zoom(
    workspace: Workspace,
    place: object,
    *,
    image: ImageName = None,
    margin: float = 0.25,
    side: int = _MIN_SIDE,
    keep: bool = True,
) -> View:
    """A part of an image, enlarged.

    place: a region or its handle, or a box of `image`.  margin: of the surroundings, as a share of the longer side.
    side: pixels of the picture's longer side at least; it is enlarged by a whole factor and never made smaller.
    keep: whether the part becomes an image of the workspace, with a handle of its own.
    Errors: UnknownRegion, UnknownImage, InvalidSetting, and those of `Box.parse`.
    """
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= _MAX_SIDE:
        raise InvalidSetting(f"the side is {shown(side)}", do=f"give 1 to {_MAX_SIDE} pixels")
    crop = (workspace.add_crop if keep else workspace.cut)(place, image=image, margin=margin)
    factor = max(1, min(-(-side // max(crop.size_wh)), _MAX_SIDE // max(crop.size_wh)))
    picture = crop.pixels.resize((crop.pixels.width * factor, crop.pixels.height * factor), Image.Resampling.LANCZOS)
    return View(picture, crop, ())


def draw_regions(image: Image.Image, regions: Sequence[Region], caption: Sequence[str] = ()) -> Image.Image:
    """The image with every region's box and name, its mask's outline, and lines of text on a white band below.

    image: RGB; a small one is enlarged by a whole factor.  Boxes and masks are in pixels of the image as given.
    """
    factor = max(1, -(-_MIN_SIDE // max(image.size)))
    canvas = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
    _outline_all(canvas, regions)
    draw, line = ImageDraw.Draw(canvas), _line(canvas)
    corners = [_scaled(region.box.xyxy, factor) for region in regions]
    for region, box in zip(regions, corners, strict=True):
        draw.rectangle(box, outline=colour(region), width=line)
    _draw_names(draw, regions, corners, line, _font(max(14, round(max(canvas.size) / 32))))
    return _with_caption(canvas, caption) if caption else canvas


def draw_masks(image: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """The image with the outline of every region's mask, for where boxes and names are drawn by others.  image: RGB."""
    canvas = image.copy()
    _outline_all(canvas, regions)
    return canvas


def contact_sheet(pictures: Sequence[Image.Image], *, width: int = 640, gap: int = 16) -> Image.Image:
    """Pictures side by side, in rows of about as many as there are rows; each is `width` pixels wide.  At least one."""
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


def workspace_html(workspace: Workspace) -> str:
    """What a notebook shows of a workspace: its whole images with their regions."""
    from roi_agent.model.utils.display import picture, regions_table, soft, stacked

    whole = [image for image in workspace.images if image.parent is None]
    parts: list[str] = [soft(f"{len(whole)} images, {len(workspace.regions())} regions")]
    for image in whole[:_SHOWN_IMAGES]:
        seen = overview(workspace, image=image)
        width, height = image.size_wh
        parts.append(picture(seen.picture, image.name))
        parts.append(soft(f"{image.name}: {image.image.source}, {width} x {height} pixels"))
        parts.append(regions_table(seen.regions) if seen.regions else "")
    left = len(whole) - _SHOWN_IMAGES
    return stacked(*parts, soft(f"... and {left} more images") if left > 0 else "")


def _seen_in(workspace: Workspace, region: Region, seen: WorkspaceImage) -> Region | None:
    """The region in pixels of the image that is looked at; None where a crop does not hold it whole."""
    if seen.box is None:
        return region
    part, box = seen.box, region.box
    inside = part.x1 <= box.x1 and part.y1 <= box.y1 and box.x2 <= part.x2 and box.y2 <= part.y2
    return workspace.seen_in(region, seen) if inside else None


def colour(region: Region) -> str:
    """The colour of a region in every picture, as #RRGGBB."""
    return _COLOURS[(int(region.name.removeprefix("region")) - 1) % len(_COLOURS)]


def _line(canvas: Image.Image) -> int:
    """Pixels that a line is wide."""
    return max(2, round(max(canvas.size) / 250))


def _outline_all(canvas: Image.Image, regions: Sequence[Region]) -> None:
    for region in regions:
        if region.mask is not None:
            _outline(canvas, region.mask, colour(region), _line(canvas))


def _outline(canvas: Image.Image, mask: Mask, colour: str, width: int) -> None:
    """Draw along a mask's edge, on its outside: its own pixels keep their colours, which may be what is asked about."""
    factor = canvas.width / mask.size_wh[0]
    more = width + 2
    x1, y1, x2, y2 = (int(value * factor) for value in mask.box.xyxy)
    around = (max(0, x1 - more), max(0, y1 - more), min(canvas.width, x2 + more), min(canvas.height, y2 + more))
    whole = Image.fromarray(mask.to_array().astype(np.uint8) * 255).resize(canvas.size, Image.Resampling.NEAREST).crop(around)
    grown = whole
    for _ in range(width):  # together one wide filter, which would take a hundred times as long
        grown = grown.filter(ImageFilter.MaxFilter(3))
    canvas.paste(colour, around, ImageChops.subtract(grown, whole))


def _draw_names(
    draw: ImageDraw.ImageDraw, regions: Sequence[Region], corners: Sequence[Corners], line: int, font: ImageFont.FreeTypeFont
) -> None:
    """Every region's name at its box, over all boxes, and not over another name where that can be helped."""
    taken: list[Corners] = []
    for region, box in zip(regions, corners, strict=True):
        name = region.name if region.label is None else f"{region.name}: {region.label}"
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        place = _free_place(box, right - left + 2 * line, bottom - top + 2 * line, draw.im.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=colour(region))
        draw.text((place[0] + line - left, place[1] + line - top), name, fill="white", font=font)


def _free_place(box: Corners, width: float, height: float, canvas_wh: tuple[int, int], taken: Sequence[Corners]) -> Corners:
    """Where a name stands: above its box, else in it or below, where no other name is; never outside the picture."""
    x1, y1, x2, y2 = box
    corners = [(x1, y1 - height), (x1, y1), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2 - height)]
    inside = [(x, y) for x, y in corners if 0 <= y <= canvas_wh[1] - height] or [(x1, y1)]
    lefts = [(max(0.0, min(x, canvas_wh[0] - width)), y) for x, y in inside]
    places = [(x, y, x + width, y + height) for x, y in lefts]
    return next((place for place in places if not any(_meet(place, other) for other in taken)), places[0])


def _meet(one: Corners, other: Corners) -> bool:
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
    """Lines no wider than `width` pixels; a single longer word stands on a line of its own."""
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
