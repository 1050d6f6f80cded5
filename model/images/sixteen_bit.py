"""Conversion of 16-bit pixels to 8 bits, scaled by their actual range: cameras use 10, 12 or 14 bits, or a narrow band.

Pillow keeps only the upper byte of 16-bit colours. Where the lower byte matters, a file is therefore decoded a second time
with the two bytes swapped, which gives the full values.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and programs use
_RARE = 0.001  # fraction of the pixels at either end that is ignored when looking for a narrow band: dead pixels
_PLANAR_CONFIGURATION = 284  # TIFF tag; 2 if each channel is stored separately
_UPPER_OF_14_BITS = 63  # the upper byte of the largest 14-bit value
_FULL_RANGE = "16-bit: scaled to 8 bits"

_EXCHANGED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def scaled_to_8_bits(values: NDArray[Any], notes: list[str]) -> NDArray[np.uint8]:
    """Scale 16-bit values, (H, W) or (H, W, 3 or 4), by the range that they fill; the fourth channel is alpha, of all 16 bits."""
    colours = values[:, :, :3] if values.ndim == 3 else values
    table = _table(colours, notes)
    scaled = np.take(table, values)
    if colours.shape != values.shape:
        scaled[:, :, 3] = values[:, :, 3] >> 8
    return scaled


def is_deep(image: Image.Image) -> bool:
    """Whether a file that is not decoded yet has 16-bit colours, of which Pillow would keep only the upper 8 bits."""
    planar = getattr(image, "tag_v2", {}).get(_PLANAR_CONFIGURATION) == 2
    raw_modes = [_raw_mode(tile) for tile in getattr(image, "tile", [])]
    deep = bool(raw_modes) and all(mode.endswith((";16B", ";16L", ";16N")) for mode in raw_modes)
    return deep and image.mode in ("RGB", "RGBA") and not planar


def deep_to_8_bits(upper: Image.Image, undecoded: Image.Image, transparent: object, notes: list[str]) -> Image.Image:
    """Return a file with 16-bit colours as 8-bit RGB or RGBA.

    upper: the file as Pillow decodes it.  undecoded: the same file, opened but not decoded.
    transparent: the 16-bit colour (R, G, B) that means transparency, if there is one.
    """
    extrema: Any = upper.getextrema()
    low, high = min(each[0] for each in extrema[:3]), max(each[1] for each in extrema[:3])
    if high > _UPPER_OF_14_BITS and high - low > _UPPER_OF_14_BITS and transparent is None:
        notes.append(_FULL_RANGE)
        return upper
    values = np.asarray(upper).astype(np.uint16) << 8
    values |= np.asarray(_lower_bytes(undecoded))
    scaled = scaled_to_8_bits(values, notes)
    if isinstance(transparent, tuple):
        alpha = np.where((values == np.array(transparent, np.uint16)).all(axis=-1), np.uint8(0), np.uint8(255))
        scaled = np.dstack([scaled, alpha])
    return Image.fromarray(scaled)


def _table(values: NDArray[Any], notes: list[str]) -> NDArray[np.uint8]:
    """Return the 8-bit value for each 16-bit one, (65536,)."""
    counts = np.bincount(values.ravel(), minlength=65536)
    bits = next(depth for depth in _DEPTHS if counts.nonzero()[0][-1] < 1 << depth)
    low, high = 0, (1 << bits) - 1
    shares = np.cumsum(counts) / values.size
    first, last = (int(np.searchsorted(shares, share, side="right")) for share in (_RARE, 1 - _RARE))
    if bits > 8 and 0 < last - first < min(first, high // 4):
        low, high = first, last
        notes.append(f"16-bit: its values from {low} to {high} were spread over 8 bits")
    else:
        notes.append(_FULL_RANGE if bits == 16 else f"16-bit: its values fill {bits} bits, which were scaled to 8")
    spread = np.clip(np.arange(65536) - low, 0, high - low)
    return ((spread * 255 + (high - low) // 2) // (high - low)).astype(np.uint8)


def _lower_bytes(image: Image.Image) -> Image.Image:
    """Return the lower 8 bits of a file with 16-bit colours that is not decoded yet."""
    file: Any = image
    if _raw_mode(file.tile[0]).startswith("LA;"):  # Pillow cannot swap its bytes, but it is as long as 8-bit RGBA
        file.tile = [tile._replace(args=_with_raw_mode(tile, "RGBA")) for tile in file.tile]
        _, grey, _, alpha = image.split()
        return Image.merge("RGBA", (grey, grey, grey, alpha))
    exchanged = [_with_raw_mode(tile, _raw_mode(tile)[:-1] + _EXCHANGED[_raw_mode(tile)[-1]]) for tile in file.tile]
    file.tile = [tile._replace(args=args) for tile, args in zip(file.tile, exchanged, strict=True)]
    return image


def _raw_mode(tile: Any) -> str:
    return str(tile.args if isinstance(tile.args, str) else tile.args[0])


def _with_raw_mode(tile: Any, mode: str) -> Any:
    return mode if isinstance(tile.args, str) else (mode, *tile.args[1:])
