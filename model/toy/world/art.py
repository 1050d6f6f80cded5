"""Kinds, colours and sizes of the toy world, and the glyphs that things are painted with."""

from dataclasses import dataclass
from functools import cache
from random import Random

from PIL import Image, ImageFilter

from roi_agent.model.toy.world.drawings import DRAWINGS
from roi_agent.model.toy.world.pen import Pen

RGB = tuple[int, int, int]

KINDS: tuple[str, ...] = tuple(DRAWINGS)

COLOURS: dict[str, RGB] = {
    "red": (214, 32, 36),
    "orange": (248, 128, 12),
    "yellow": (252, 222, 40),
    "green": (38, 150, 58),
    "blue": (32, 84, 214),
    "purple": (122, 40, 168),
    "pink": (255, 138, 194),
    "brown": (112, 64, 28),
    "white": (248, 248, 246),
    "black": (24, 24, 28),
}

# Ranges of the longer side of a thing's box, as a fraction of the image's side. Gaps between them keep the names unambiguous.
SIZES: dict[str, tuple[float, float]] = {"small": (0.15, 0.18), "medium": (0.23, 0.27), "large": (0.33, 0.40)}

GLYPH_SIDE = 256  # pixels of a glyph's longer side
RIM = 3  # pixels of a glyph's rim: separates overlapping things of one colour, but does not hide thin parts
JITTER = 9  # maximum difference of a thing's channels from its colour's, of 255


@dataclass(frozen=True, slots=True, eq=False)
class Glyph:
    """The silhouette of a kind at high resolution.  whole, core: with and without the rim, mode "L", cropped tightly."""

    whole: Image.Image
    core: Image.Image

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height, in units of the longer side."""
        width, height = self.whole.size
        return width / max(width, height), height / max(width, height)

    def at(self, size_wh: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
        """Return `whole` and `core` at this size in pixels, antialiased."""
        # BOX averages the area of a pixel only, so the first and last rows stay covered when shrinking.
        how = Image.Resampling.BOX if size_wh[0] <= self.whole.width else Image.Resampling.BILINEAR
        return self.whole.resize(size_wh, how), self.core.resize(size_wh, how)


@cache
def glyph(kind: str) -> Glyph:
    """Return the glyph of one of KINDS."""
    pen = Pen()
    DRAWINGS[kind](pen)
    whole = Image.fromarray(pen.coverage(GLYPH_SIDE))
    # Erode with an empty frame around the glyph, so that edges at its border get a rim too.
    framed = Image.new("L", (whole.width + 2 * RIM, whole.height + 2 * RIM), 0)
    framed.paste(whole, (RIM, RIM))
    eroded = framed.filter(ImageFilter.MinFilter(2 * RIM + 1))
    return Glyph(whole, eroded.crop((RIM, RIM, RIM + whole.width, RIM + whole.height)))


@cache
def extent(kind: str) -> tuple[float, float]:
    """Return width and height of a kind, in units of its longer side."""
    return glyph(kind).extent


def jittered(colour: str, rng: Random) -> RGB:
    """Return one of COLOURS with a small random change of brightness and hue, still far from every other colour."""
    brighter = rng.uniform(-JITTER, JITTER)
    red, green, blue = (_channel(c + brighter * 0.6 + rng.uniform(-JITTER, JITTER) * 0.4) for c in COLOURS[colour])
    return red, green, blue


def rim_colour(fill: RGB) -> RGB:
    """Return the colour of a thing's rim: darker than its fill, or lighter for a very dark fill."""
    dark = sum(fill) < 120
    red, green, blue = (_channel(c + 60 if dark else c * 0.68) for c in fill)
    return red, green, blue


def _channel(value: float) -> int:
    return min(255, max(0, round(value)))
