"""Pictures of regions: numbered boxes on an image, and what was asked and answered below it."""

from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from roi_agent.model.regions import Region

# Okabe and Ito's palette, without its yellow: told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MIN_SIDE = 512  # a smaller image is enlarged, so that numbers stay legible


def draw_regions(image: Image.Image, regions: Sequence[Region], caption: Sequence[str] = ()) -> Image.Image:
    """The image with every region's box and name, and lines of text on a white band below.

    image: RGB; a small one is enlarged by a whole factor.  Boxes are pixels of the image as given.
    """
    factor = max(1, -(-_MIN_SIDE // max(image.size)))
    canvas = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(max(canvas.size) / 250))
    font = _font(max(14, round(max(canvas.size) / 32)))
    for region in regions:
        _draw_box(draw, region, factor, line, font)
    return _with_caption(canvas, caption) if caption else canvas


def _draw_box(draw: ImageDraw.ImageDraw, region: Region, factor: int, line: int, font: ImageFont.FreeTypeFont) -> None:
    colour = _COLOURS[(int(region.name.removeprefix("region")) - 1) % len(_COLOURS)]
    x1, y1, x2, y2 = (value * factor for value in region.box.xyxy)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)
    name = region.name if region.label is None else f"{region.name}: {region.label}"
    left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    # Above the box where there is room, else inside it; never outside the picture.
    x = max(0.0, min(x1, draw.im.size[0] - width))
    y = y1 - height if y1 >= height else y1
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + line - left, y + line - top), name, fill="white", font=font)


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
