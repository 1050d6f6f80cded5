"""Kinds, colours and sizes of the toy world, and the masks its things are painted with."""

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

# The longer side of a thing's box as a fraction of the image's side. The gaps between bands keep the names certain.
SIZES: dict[str, tuple[float, float]] = {"small": (0.15, 0.18), "medium": (0.23, 0.27), "large": (0.33, 0.40)}

GLYPH_SIDE = 256  # pixels of a glyph's longer side
RIM = 3  # pixels of a glyph's rim: enough to part two overlapping things of one colour, too thin to hide a tine
JITTER = 9  # steps out of 255 by which a thing's channels may differ from its colour's


@dataclass(frozen=True, slots=True, eq=False)
class Glyph:
    """A kind's silhouette at high resolution: `whole`, and `core` without the rim; both "L", cropped to the tight extent."""

    whole: Image.Image
    core: Image.Image

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in units of the longer side."""
        width, height = self.whole.size
        return width / max(width, height), height / max(width, height)

    def at(self, size_wh: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
        """`whole` and `core` at this size in pixels, antialiased."""
        # BOX when shrinking: its support never reaches outside a pixel, so the first and last rows stay inked.
        how = Image.Resampling.BOX if size_wh[0] <= self.whole.width else Image.Resampling.BILINEAR
        return self.whole.resize(size_wh, how), self.core.resize(size_wh, how)


@cache
def glyph(kind: str) -> Glyph:
    """The glyph of one of KINDS; drawn once."""
    pen = Pen()
    DRAWINGS[kind](pen)
    whole = Image.fromarray(pen.coverage(GLYPH_SIDE))
    # Erode with an empty frame around, so that an edge on the extent's border has a rim too.
    framed = Image.new("L", (whole.width + 2 * RIM, whole.height + 2 * RIM), 0)
    framed.paste(whole, (RIM, RIM))
    eroded = framed.filter(ImageFilter.MinFilter(2 * RIM + 1))
    return Glyph(whole, eroded.crop((RIM, RIM, RIM + whole.width, RIM + whole.height)))


@cache
def extent(kind: str) -> tuple[float, float]:
    """Width and height of a kind in units of its longer side."""
    return glyph(kind).extent


def jittered(colour: str, rng: Random) -> RGB:
    """One of COLOURS, slightly off in brightness and hue but never near another name's colour."""
    brighter = rng.uniform(-JITTER, JITTER)
    red, green, blue = (_channel(c + brighter * 0.6 + rng.uniform(-JITTER, JITTER) * 0.4) for c in COLOURS[colour])
    return red, green, blue


def rim_colour(fill: RGB) -> RGB:
    """The colour of a thing's rim: darker than its fill, or lighter where the fill is too dark for that."""
    dark = sum(fill) < 120
    red, green, blue = (_channel(c + 60 if dark else c * 0.68) for c in fill)
    return red, green, blue


def _channel(value: float) -> int:
    return min(255, max(0, round(value)))
