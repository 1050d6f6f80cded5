"""Drawings of the 40 kinds of the toy world, each a few strokes in a unit square.

Kinds must be distinguishable at 20 x 20 pixels, so each has its own outline, and holes where outlines are similar.
"""

from collections.abc import Callable

from roi_agent.model.toy.world.pen import Pen, around


def _star(pen: Pen) -> None:
    pen.polygon(*(around(0.5, 0.52, 0.5 if i % 2 == 0 else 0.2, 36 * i) for i in range(10)))


def _heart(pen: Pen) -> None:
    pen.ellipse(0.27, 0.3, 0.25)
    pen.ellipse(0.73, 0.3, 0.25)
    pen.polygon((0.08, 0.45), (0.5, 0.25), (0.92, 0.45), (0.5, 0.95))


def _disc(pen: Pen) -> None:
    pen.ellipse(0.5, 0.5, 0.5)


def _square(pen: Pen) -> None:
    pen.box(0.0, 0.0, 1.0, 1.0)


def _triangle(pen: Pen) -> None:
    pen.polygon((0.5, 0.05), (1.0, 0.92), (0.0, 0.92))


def _diamond(pen: Pen) -> None:
    pen.polygon((0.5, 0.0), (0.85, 0.5), (0.5, 1.0), (0.15, 0.5))


def _ring(pen: Pen) -> None:
    pen.ellipse(0.5, 0.5, 0.5)
    pen.ellipse(0.5, 0.5, 0.28, cut=True)


def _cross(pen: Pen) -> None:
    pen.box(0.34, 0.0, 0.66, 1.0)
    pen.box(0.0, 0.34, 1.0, 0.66)


def _moon(pen: Pen) -> None:
    pen.ellipse(0.5, 0.5, 0.5)
    pen.ellipse(0.75, 0.4, 0.42, cut=True)


def _sun(pen: Pen) -> None:
    pen.ellipse(0.5, 0.5, 0.26)
    for i in range(8):
        pen.line(around(0.5, 0.5, 0.37, 45 * i), around(0.5, 0.5, 0.48, 45 * i), width=0.11)


def _cloud(pen: Pen) -> None:
    pen.ellipse(0.22, 0.55, 0.2)
    pen.ellipse(0.47, 0.38, 0.27)
    pen.ellipse(0.77, 0.53, 0.22)
    pen.line((0.18, 0.67), (0.82, 0.67), width=0.17)


def _umbrella(pen: Pen) -> None:
    pen.half_disc(0.5, 0.5, 0.5, 0.46)
    for x in (0.17, 0.5, 0.83):
        pen.ellipse(x, 0.52, 0.13, 0.09, cut=True)
    pen.line((0.5, 0.06), (0.5, 0.88), width=0.08)
    pen.arc(0.38, 0.88, 0.12, 0, 180, width=0.08)


def _snowman(pen: Pen) -> None:
    pen.ellipse(0.5, 0.72, 0.28)
    pen.ellipse(0.5, 0.33, 0.18)
    pen.box(0.27, 0.14, 0.73, 0.2)
    pen.box(0.37, -0.03, 0.63, 0.16)
    pen.line((0.27, 0.62), (0.08, 0.42), width=0.06)
    pen.line((0.73, 0.62), (0.92, 0.42), width=0.06)
    for y in (0.62, 0.8):
        pen.ellipse(0.5, y, 0.05, cut=True)


def _scissors(pen: Pen) -> None:
    pen.line((0.25, 0.02), (0.63, 0.68), width=0.11)
    pen.line((0.75, 0.02), (0.37, 0.68), width=0.11)
    for x in (0.26, 0.74):
        pen.ellipse(x, 0.81, 0.19)
        pen.ellipse(x, 0.81, 0.09, cut=True)


def _anchor(pen: Pen) -> None:
    pen.line((0.5, 0.2), (0.5, 0.92), width=0.11)
    pen.line((0.28, 0.34), (0.72, 0.34), width=0.1)
    pen.arc(0.5, 0.52, 0.4, 10, 170, width=0.11)
    pen.polygon((-0.03, 0.68), (0.1, 0.47), (0.26, 0.66))
    pen.polygon((1.03, 0.68), (0.9, 0.47), (0.74, 0.66))
    pen.ellipse(0.5, 0.13, 0.14)
    pen.ellipse(0.5, 0.13, 0.06, cut=True)


def _flower(pen: Pen) -> None:
    pen.line((0.5, 0.5), (0.5, 0.98), width=0.08)
    pen.ellipse(0.64, 0.82, 0.15, 0.07)
    pen.ellipse(0.36, 0.88, 0.15, 0.07)
    for i in range(5):
        pen.ellipse(*around(0.5, 0.33, 0.21, 72 * i), 0.14)
    pen.ellipse(0.5, 0.33, 0.2)
    pen.ellipse(0.5, 0.33, 0.09, cut=True)


def _arrow(pen: Pen) -> None:
    pen.polygon((0.0, 0.38), (0.52, 0.38), (0.52, 0.15), (1.0, 0.5), (0.52, 0.85), (0.52, 0.62), (0.0, 0.62))


def _house(pen: Pen) -> None:
    pen.polygon((0.0, 0.48), (0.5, 0.02), (1.0, 0.48))
    pen.box(0.13, 0.45, 0.87, 0.98)
    pen.box(0.72, 0.06, 0.86, 0.35)
    pen.box(0.54, 0.64, 0.74, 0.99, cut=True)
    pen.box(0.24, 0.58, 0.42, 0.76, cut=True)


def _tree(pen: Pen) -> None:
    for top, bottom, half in ((0.0, 0.36, 0.24), (0.2, 0.6, 0.33), (0.42, 0.84, 0.42)):
        pen.polygon((0.5, top), (0.5 + half, bottom), (0.5 - half, bottom))
    pen.box(0.41, 0.84, 0.59, 1.0)


def _fish(pen: Pen) -> None:
    pen.ellipse(0.4, 0.5, 0.4, 0.26)
    pen.polygon((0.7, 0.5), (1.0, 0.22), (0.93, 0.5), (1.0, 0.78))
    pen.polygon((0.3, 0.3), (0.5, 0.1), (0.58, 0.32))
    pen.ellipse(0.18, 0.44, 0.055, cut=True)
    pen.arc(0.18, 0.5, 0.22, -40, 40, width=0.04, cut=True)


def _key(pen: Pen) -> None:
    pen.ellipse(0.23, 0.4, 0.23)
    pen.ellipse(0.23, 0.4, 0.11, cut=True)
    pen.line((0.45, 0.4), (0.97, 0.4), width=0.12)
    pen.box(0.66, 0.42, 0.76, 0.64)
    pen.box(0.87, 0.42, 0.98, 0.7)


def _cup(pen: Pen) -> None:
    pen.arc(0.72, 0.48, 0.2, -90, 90, width=0.1)
    pen.polygon((0.02, 0.16), (0.74, 0.16), (0.68, 0.78), (0.6, 0.88), (0.16, 0.88), (0.08, 0.78))


def _bottle(pen: Pen) -> None:
    pen.box(0.39, 0.0, 0.61, 0.08)
    pen.box(0.42, 0.11, 0.58, 0.4)
    pen.ellipse(0.5, 0.46, 0.24, 0.16)
    pen.box(0.26, 0.46, 0.74, 1.0)
    pen.box(0.33, 0.6, 0.67, 0.82, cut=True)


def _lamp(pen: Pen) -> None:
    pen.polygon((0.33, 0.02), (0.67, 0.02), (0.92, 0.48), (0.08, 0.48))
    pen.line((0.5, 0.45), (0.5, 0.92), width=0.08)
    pen.half_disc(0.5, 1.0, 0.28, 0.14)


def _boat(pen: Pen) -> None:
    pen.polygon((0.0, 0.7), (1.0, 0.7), (0.82, 0.96), (0.18, 0.96))
    pen.line((0.5, 0.02), (0.5, 0.75), width=0.05)
    pen.polygon((0.58, 0.08), (0.92, 0.6), (0.58, 0.6))
    pen.polygon((0.42, 0.2), (0.42, 0.6), (0.12, 0.6))


def _car(pen: Pen) -> None:
    pen.line((0.09, 0.55), (0.91, 0.55), width=0.18)
    pen.box(0.01, 0.55, 0.99, 0.68)
    pen.polygon((0.16, 0.5), (0.3, 0.23), (0.68, 0.23), (0.85, 0.5))
    pen.polygon((0.28, 0.44), (0.36, 0.3), (0.46, 0.3), (0.46, 0.44), cut=True)
    pen.polygon((0.53, 0.44), (0.53, 0.3), (0.64, 0.3), (0.73, 0.44), cut=True)
    for x in (0.26, 0.75):
        pen.ellipse(x, 0.69, 0.17, cut=True)
        pen.ellipse(x, 0.69, 0.13)


def _mushroom(pen: Pen) -> None:
    pen.half_disc(0.5, 0.55, 0.5, 0.53)
    pen.polygon((0.39, 0.55), (0.61, 0.55), (0.68, 0.97), (0.32, 0.97))
    for x, y, r in ((0.5, 0.22, 0.09), (0.24, 0.4, 0.08), (0.76, 0.4, 0.08)):
        pen.ellipse(x, y, r, cut=True)


def _bell(pen: Pen) -> None:
    pen.ellipse(0.5, 0.06, 0.08)
    pen.ellipse(0.5, 0.4, 0.27, 0.32)
    pen.polygon((0.23, 0.4), (0.77, 0.4), (0.8, 0.62), (0.94, 0.78), (0.06, 0.78), (0.2, 0.62))
    pen.ellipse(0.5, 0.9, 0.1)


def _crown(pen: Pen) -> None:
    pen.polygon((0.08, 0.92), (0.02, 0.25), (0.28, 0.52), (0.5, 0.16), (0.72, 0.52), (0.98, 0.25), (0.92, 0.92))
    for x, y in ((0.02, 0.22), (0.5, 0.13), (0.98, 0.22)):
        pen.ellipse(x, y, 0.07)
    pen.box(0.06, 0.74, 0.94, 0.79, cut=True)


def _plane(pen: Pen) -> None:
    pen.ellipse(0.5, 0.5, 0.085, 0.5)
    pen.polygon((0.5, 0.3), (1.0, 0.58), (1.0, 0.68), (0.5, 0.56), (0.0, 0.68), (0.0, 0.58))
    pen.polygon((0.5, 0.78), (0.72, 0.92), (0.72, 0.98), (0.5, 0.94), (0.28, 0.98), (0.28, 0.92))


def _hammer(pen: Pen) -> None:
    pen.line((0.5, 0.2), (0.5, 0.94), width=0.13)
    pen.box(0.12, 0.02, 0.66, 0.3)
    pen.polygon((0.66, 0.04), (0.8, 0.04), (0.98, 0.28), (0.66, 0.26))


def _ladder(pen: Pen) -> None:
    pen.line((0.27, 0.05), (0.2, 0.95), width=0.1)
    pen.line((0.73, 0.05), (0.8, 0.95), width=0.1)
    for y in (0.2, 0.4, 0.6, 0.8):
        pen.line((0.25, y), (0.75, y), width=0.08)


def _flag(pen: Pen) -> None:
    pen.line((0.16, 0.05), (0.16, 0.96), width=0.1)
    pen.polygon((0.16, 0.08), (0.94, 0.08), (0.76, 0.32), (0.94, 0.56), (0.16, 0.56))


def _envelope(pen: Pen) -> None:
    pen.box(0.0, 0.17, 1.0, 0.83)
    pen.line((0.05, 0.22), (0.5, 0.56), (0.95, 0.22), width=0.06, cut=True)


def _fork(pen: Pen) -> None:
    for x in (0.29, 0.5, 0.71):
        pen.line((x, 0.05), (x, 0.36), width=0.1)
    pen.polygon((0.255, 0.34), (0.745, 0.34), (0.6, 0.54), (0.4, 0.54))
    pen.line((0.5, 0.5), (0.5, 0.94), width=0.13)


def _cactus(pen: Pen) -> None:
    pen.line((0.5, 0.1), (0.5, 0.95), width=0.2)
    pen.line((0.12, 0.3), (0.12, 0.56), (0.5, 0.56), width=0.14)
    pen.line((0.88, 0.2), (0.88, 0.44), (0.5, 0.44), width=0.14)
    pen.box(0.3, 0.93, 0.7, 1.05)


def _hourglass(pen: Pen) -> None:
    pen.polygon((0.22, 0.08), (0.78, 0.08), (0.55, 0.5), (0.78, 0.92), (0.22, 0.92), (0.45, 0.5))
    pen.box(0.12, 0.0, 0.88, 0.1)
    pen.box(0.12, 0.9, 0.88, 1.0)
    pen.polygon((0.36, 0.18), (0.64, 0.18), (0.58, 0.29), (0.42, 0.29), cut=True)


def _butterfly(pen: Pen) -> None:
    for side in (-1, 1):
        pen.ellipse(0.5 + 0.27 * side, 0.34, 0.23, 0.24)
        pen.ellipse(0.5 + 0.22 * side, 0.72, 0.18, 0.19)
        pen.line((0.5, 0.2), (0.5 + 0.12 * side, 0.04), width=0.05)
        pen.ellipse(0.5 + 0.29 * side, 0.33, 0.09, cut=True)
    pen.ellipse(0.5, 0.5, 0.07, 0.34)


def _chair(pen: Pen) -> None:
    pen.line((0.22, 0.05), (0.22, 0.95), width=0.11)
    pen.line((0.22, 0.56), (0.78, 0.56), width=0.14)
    pen.line((0.77, 0.56), (0.77, 0.95), width=0.11)


def _bolt(pen: Pen) -> None:
    pen.polygon((0.58, 0.0), (0.2, 0.55), (0.46, 0.55), (0.34, 1.0), (0.8, 0.38), (0.53, 0.38), (0.74, 0.0))


DRAWINGS: dict[str, Callable[[Pen], None]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        *(_star, _heart, _disc, _square, _triangle, _diamond, _ring, _cross, _moon, _sun),
        *(_cloud, _umbrella, _snowman, _scissors, _anchor, _flower, _arrow, _house, _tree, _fish),
        *(_key, _cup, _bottle, _lamp, _boat, _car, _mushroom, _bell, _crown, _plane),
        *(_hammer, _ladder, _flag, _envelope, _fork, _cactus, _hourglass, _butterfly, _chair, _bolt),
    )
}
