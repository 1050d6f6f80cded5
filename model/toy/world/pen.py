"""A pen for the drawings of the toy world, which draws one silhouette at high resolution."""

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]

UNIT = 832  # pixels of the unit square; scaling down to 256-pixel masks antialiases them
MARGIN = 96  # pixels around the unit square, so that round strokes at its edge are not clipped
ROUNDING = 0.03  # diameter of a polygon's corners; sharper tips would vanish in small renders and make boxes loose


def _canvas() -> Image.Image:
    return Image.new("L", (UNIT + 2 * MARGIN, UNIT + 2 * MARGIN), 0)


@dataclass(slots=True)
class Pen:
    """Adds or cuts shapes in a unit square, with x to the right and y down."""

    canvas: Image.Image = field(default_factory=_canvas)

    def ellipse(self, x: float, y: float, rx: float, ry: float | None = None, *, cut: bool = False) -> None:
        """Draw an ellipse by centre and radii, or a circle without `ry`."""
        ry = rx if ry is None else ry
        ImageDraw.Draw(self.canvas).ellipse((*_pixel((x - rx, y - ry)), *_pixel((x + rx, y + ry))), fill=_ink(cut))

    def box(self, x1: float, y1: float, x2: float, y2: float, *, cut: bool = False) -> None:
        """Draw an axis-aligned rectangle with sharp corners."""
        ImageDraw.Draw(self.canvas).rectangle((*_pixel((x1, y1)), *_pixel((x2, y2))), fill=_ink(cut))

    def polygon(self, *points: Point, cut: bool = False) -> None:
        """Draw a filled polygon, with slightly round corners unless it is cut."""
        ImageDraw.Draw(self.canvas).polygon([_pixel(p) for p in points], fill=_ink(cut))
        if not cut:
            self.line(*points, points[0], width=ROUNDING)

    def line(self, *points: Point, width: float, cut: bool = False) -> None:
        """Draw a polyline with round ends and joints."""
        draw = ImageDraw.Draw(self.canvas)
        draw.line([_pixel(p) for p in points], fill=_ink(cut), width=round(width * UNIT))
        for x, y in points:
            self.ellipse(x, y, width / 2, cut=cut)

    def arc(self, x: float, y: float, r: float, start_deg: float, end_deg: float, *, width: float, cut: bool = False) -> None:
        """Draw an arc of a circle, clockwise from `start_deg`; 0 points right, 90 down."""
        steps = 24
        angles = [math.radians(start_deg + (end_deg - start_deg) * i / steps) for i in range(steps + 1)]
        self.line(*((x + r * math.cos(a), y + r * math.sin(a)) for a in angles), width=width, cut=cut)

    def half_disc(self, x: float, y: float, rx: float, ry: float, *, cut: bool = False) -> None:
        """Draw the upper half of an ellipse, with its flat side at `y`."""
        corners = (*_pixel((x - rx, y - ry)), *_pixel((x + rx, y + ry)))
        ImageDraw.Draw(self.canvas).pieslice(corners, 180, 360, fill=_ink(cut))

    def coverage(self, longer_side: int) -> np.ndarray:
        """Return the drawing, cropped tightly: (H, W) uint8, 255 inside, with max(H, W) == longer_side."""
        tight = self.canvas.getbbox()
        assert tight is not None, "nothing was drawn"
        drawn = self.canvas.crop(tight)
        scale = longer_side / max(drawn.size)
        size_wh = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
        return np.asarray(drawn.resize(size_wh, Image.Resampling.BOX))


def around(x: float, y: float, r: float, angle_deg: float) -> Point:
    """Return the point at distance `r` from (x, y); 0 degrees points up, clockwise."""
    angle = math.radians(angle_deg)
    return x + r * math.sin(angle), y - r * math.cos(angle)


def _pixel(point: Point) -> Point:
    return MARGIN + point[0] * UNIT, MARGIN + point[1] * UNIT


def _ink(cut: bool) -> int:
    return 0 if cut else 255
