"""Background textures in mid-grey tones, which contrast with every colour of the toy world."""

from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pattern = NDArray[np.float32]

LIGHTNESS = (114, 156)  # range of the mean channel value, between black and white
TINT = 14  # maximum difference of a channel from the mean
STEP = 24  # maximum difference in lightness between the two tones of a pattern


def background(rng: Random, side: int) -> NDArray[np.uint8]:
    """Return a random texture: (side, side, 3) uint8."""
    lightness = rng.uniform(*LIGHTNESS)
    step = rng.choice((-1, 1)) * rng.uniform(6, STEP)
    first = np.array([lightness + rng.uniform(-TINT, TINT) for _ in range(3)], np.float32)
    second = np.array([lightness + step + rng.uniform(-TINT, TINT) for _ in range(3)], np.float32)
    pattern = rng.choice(PATTERNS)(rng, side)
    return (first + pattern[..., None] * (second - first)).clip(0, 255).astype(np.uint8)


def _gradient(rng: Random, side: int) -> Pattern:
    x, y = _grid(side)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    low, high = float(ramp.min()), float(ramp.max())
    return (ramp - np.float32(low)) / np.float32(high - low)


def _clouds(rng: Random, side: int) -> Pattern:
    return _noise(rng, rng.randint(3, 12), side, Image.Resampling.BICUBIC)


def _stripes(rng: Random, side: int) -> Pattern:
    x, y = _grid(side)
    angle = rng.uniform(0, np.pi)
    ramp = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) * np.float32(rng.uniform(5, 14))
    return _soft_wave(ramp + np.float32(rng.random()), side / 16)


def _checks(rng: Random, side: int) -> Pattern:
    x, y = _grid(side)
    count = np.float32(rng.uniform(3, 9))
    across, down = (_soft_wave(axis * count + np.float32(rng.random()), side / 16) for axis in (x, y))
    return across + down - 2 * across * down


def _speckle(rng: Random, side: int) -> Pattern:
    # A grid of fixed size gives a scene the same speckles at every render size.
    return _noise(rng, 96, side, Image.Resampling.BILINEAR)


def _plain(rng: Random, side: int) -> Pattern:
    return np.full((side, side), rng.random(), np.float32)


PATTERNS: tuple[Callable[[Random, int], Pattern], ...] = (_gradient, _clouds, _stripes, _checks, _speckle, _plain)


def _grid(side: int) -> tuple[Pattern, Pattern]:
    """Return the x and y of pixel centres in [0, 1]: (1, side) and (side, 1)."""
    axis = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    return axis[None, :], axis[:, None]


def _soft_wave(phase: Pattern, sharpness: float) -> Pattern:
    """Return a square wave of period 1 between 0 and 1, with edges softened over about one pixel."""
    triangle = np.abs((phase % 1) - np.float32(0.5)) * 2
    steep: Pattern = (triangle - np.float32(0.5)) * np.float32(max(2.0, sharpness)) + np.float32(0.5)
    return steep.clip(0, 1)


def _noise(rng: Random, cells: int, side: int, how: Image.Resampling) -> Pattern:
    values = np.frombuffer(rng.randbytes(cells * cells), np.uint8).reshape(cells, cells)
    smooth = Image.fromarray(values).resize((side, side), how)
    levels: Pattern = np.asarray(smooth, np.float32)
    return levels / np.float32(255)
