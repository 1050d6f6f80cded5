"""Pixel statistics that distinguish rendered scenes from other images, such as photos.

Scenes consist of flat things of few colours, each in one piece, on a muted ground. Five statistics measure the deviation from
that. Photos have gradual transitions between many colours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SIDE = 224  # maximum pixels of the shorter side; larger images are scaled down
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float32)
_GROUND_LIGHTNESS, _GROUND_CHROMA = (80, 190), 18  # of 255
_LIGHTNESS, _CHROMA = 15, 11  # maximum distance of a pixel from its colour
_FADED = 0.65  # minimum share of a colour's chroma, which JPEG reduces at the edges of things
_VIVID = 20  # minimum chroma of a colour other than black, white and grey
_FLAT, _STEEP, _EVEN = 12, 36, 5  # differences of lightness: flat and steep between neighbours, even within a thing
_LEAST = 0.0006  # minimum area of a piece, as a share of the squared shorter side
_OWN = 0.3  # minimum share of known colours in a piece


@dataclass(frozen=True, slots=True)
class SceneStatistics:
    """Shares of an image, in [0, 1].

    things: share of all pixels that are not ground.  strange: share of all pixels that are flat and of no known colour.
    framed: share of the pixels at the frame that are neither ground nor of a vivid known colour.
    rough: share of the ground that is steep.
    vague: the sum of three shares, in [0, 3]: of the things' pixels, those of no known colour; of the things' pixels, those in no
    piece with a known colour; of the pixels of known colours, those that differ in lightness from their thing.
    """

    things: float
    strange: float
    framed: float
    rough: float
    vague: float


def measure(image: Image.Image, fills: Pixels, rims: Pixels, *, most_things: float = 1.0) -> SceneStatistics:
    """Return the statistics of an RGB image.

    fills, rims: (K, 3) RGB, the known colours of things and of their rims.
    most_things: with a larger share of things, as in most photos, return the maximum of all other statistics, to save time.
    """
    lightness, chroma = _split(_reduced(image))
    low, high = _GROUND_LIGHTNESS
    ground = (lightness >= low) & (lightness <= high) & (_larger(np.abs(chroma)) <= _GROUND_CHROMA)
    things = ~ground
    if (share := _share(things)) > most_things:
        return SceneStatistics(share, 1.0, 1.0, 1.0, 3.0)
    steps = ndimage.maximum_filter(lightness, 3, mode="nearest") - ndimage.minimum_filter(lightness, 3, mode="nearest")
    fill, rim = (np.full(things.shape, -1) for _ in range(2))
    fill[things] = _nearest(lightness[things], chroma[things], fills)
    rim[things] = _nearest(lightness[things], chroma[things], rims)
    known = (fill >= 0) | (rim >= 0)
    vivid = np.abs(_split(fills)[1]).max(1) > _VIVID
    return SceneStatistics(
        things=share,
        strange=_share(things & ~known & (steps <= _FLAT)),
        framed=1 - _share(_frame(ground | ((fill >= 0) & vivid[fill]))),
        rough=_share(steps[ground] > _STEEP),
        vague=1 - _share(known[things]) + _scattered_and_uneven(things, fill, lightness, len(fills)),
    )


def _reduced(image: Image.Image) -> Pixels:
    factor = _SIDE / min(image.size)
    if factor < 1:
        width, height = (max(1, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, np.float32)


def _split(rgb: Pixels) -> tuple[Pixels, Pixels]:
    """Convert RGB values (..., 3) to lightness (...) and chroma (..., 2), as in JPEG."""
    values: Pixels = rgb @ _TO_YCC.T
    return values[..., 0], values[..., 1:]


def _nearest(lightness: Pixels, chroma: Pixels, colours: Pixels) -> NDArray[np.intp]:
    """Return the index of the nearest colour of N pixels: (N), or -1 if none is near.  colours: (K, 3) RGB."""
    of_colour, hues = _split(colours)
    strength = (hues**2).sum(1)
    fade = np.where(strength > 100, ((chroma @ hues.T) / np.maximum(strength, 1)).clip(_FADED, 1), 1)  # greys do not fade
    apart = np.maximum(*(np.abs(chroma[..., axis, None] - fade * hues[:, axis]) for axis in (0, 1)))
    apart[(np.abs(lightness[..., None] - of_colour) > _LIGHTNESS) | (apart > _CHROMA)] = np.inf
    return np.where(np.isfinite(apart.min(-1)), apart.argmin(-1), -1)


def _scattered_and_uneven(things: Mask, fill: NDArray[np.intp], lightness: Pixels, num_colours: int) -> float:
    """Return the sum of two shares of `vague`, which depend on the connected pieces of things."""
    labels, _ = ndimage.label(things, np.ones((3, 3)))
    sizes, coloured = np.bincount(labels.ravel()), np.bincount(labels.ravel(), (fill >= 0).ravel())
    own = (sizes >= _LEAST * min(things.shape) ** 2) & (coloured >= _OWN * sizes)
    own[0] = False  # the ground
    inside = own[labels] & (fill >= 0)
    if not inside.any():
        return 2.0
    values = lightness[inside]
    _, group = np.unique(labels[inside] * num_colours + fill[inside], return_inverse=True)
    middle = np.asarray(ndimage.median(values, group, np.arange(group.max() + 1)))
    scattered = 1 - float(sizes[own].sum() / things.sum())
    return scattered + _share(np.abs(values - middle[group]) > _EVEN)


def _larger(pairs: Pixels) -> Pixels:
    """Return the maximum along the last axis, (..., 2) -> (...), ten times as fast as numpy's `max` for so short an axis."""
    larger: Pixels = np.maximum(pairs[..., 0], pairs[..., 1])
    return larger


def _frame(mask: Mask) -> Mask:
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def _share(mask: Mask) -> float:
    return float(mask.mean()) if mask.size else 0.0
