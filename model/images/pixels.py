"""Conversion of pixels to 8-bit RGB, from all of Pillow's modes and numpy's types; reads no files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roi_agent.model.errors import ImageUnreadable
from roi_agent.model.images.sixteen_bit import scaled_to_8_bits

_OVER_WHITE = "transparency laid over white"
_ROUNDING = 0.5 / 255  # by which a float may be outside 0 ... 1: less than one 8-bit level


def without_vanishing(picture: Image.Image, longest: int) -> Image.Image:
    """Return the picture, shrunk if scaling its longer side to `longest` would leave less than a pixel of the shorter one."""
    thin = min(picture.size) * longest < max(picture.size)
    return shrunk_to(picture, longest) if thin else picture


def shrunk_to(picture: Image.Image, longest: int) -> Image.Image:
    """Return the picture, shrunk if a side is longer than `longest`; no side becomes shorter than a pixel."""
    scale = longest / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture if scale >= 1 else picture.resize(size, Image.Resampling.BICUBIC)


def array_size_wh(values: NDArray[Any]) -> tuple[int, int]:
    """Return width and height of an image array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).  Error: ImageUnreadable."""
    shape = values.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ImageUnreadable(f"the array has the shape {shape}", do="give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return shape[1], shape[0]


def array_to_rgb(values: NDArray[Any], notes: list[str]) -> Image.Image:
    """Convert an image array of uint8, uint16, bool, or float in [0, 1] to a new RGB image; adds to the notes.

    Error: ImageUnreadable for any other type, a float outside that range, or NaN.
    """
    flat = values[:, :, 0] if values.shape[2:] == (1,) else values
    pixels = np.ascontiguousarray(_to_8_bits(flat, "the array", notes))
    return to_rgb(Image.fromarray(pixels), None, "the array", notes)


def to_rgb(image: Image.Image, transparent: object, display_name: str, notes: list[str]) -> Image.Image:
    """Convert a decoded image of any mode to a new RGB image, transparency over white; adds to the notes.

    transparent: result of `transparent_colour` before decoding.  display_name: the image's name in messages.
    Errors: ImageUnreadable if the range of the values is unknown, and any exception of Pillow for a damaged image.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "I":
            if values.min() < 0 or values.max() > 65535:
                problem = f"{display_name} has values from {values.min()} to {values.max()}"
                raise ImageUnreadable(problem, do="scale them to 0 ... 65535")
            values = values.astype(np.uint16)
        grey = Image.fromarray(_to_8_bits(values, display_name, notes))
        if isinstance(transparent, int):
            notes.append(_OVER_WHITE)
            grey.paste(255, mask=Image.fromarray(values == transparent))
        return grey.convert("RGB")
    if transparent is not None:
        image = image.copy()
        image.info["transparency"] = transparent
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return rgba.convert("RGB")
    notes.append(_OVER_WHITE)
    rgb = Image.new("RGB", image.size, "white")
    rgb.paste(rgba, mask=alpha)
    return rgb


def transparent_colour(image: Image.Image) -> object:
    """Return the colour that means transparency, on the scale of the decoded pixels; to be called before decoding.

    Pillow leaves it on the scale of the file, which is wrong for 2-bit and 4-bit grey and for 16-bit colour.
    """
    colour = image.info.get("transparency")
    raw_mode = next((tile[3] for tile in getattr(image, "tile", [])), None)
    if isinstance(colour, int) and raw_mode in ("L;2", "L;4"):
        return colour * (85 if raw_mode == "L;2" else 17)
    if isinstance(colour, tuple) and raw_mode == "RGB;16B":
        return tuple(channel >> 8 for channel in colour)
    return colour


def _to_8_bits(values: NDArray[Any], display_name: str, notes: list[str]) -> NDArray[np.uint8]:
    """Convert uint8, uint16, bool, or float in [0, 1], of any shape, to uint8 over the same range."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return scaled_to_8_bits(values, notes)
    if values.dtype.kind != "f":
        raise ImageUnreadable(
            f"{display_name} has values of type {values.dtype}", do="give uint8, uint16, bool, or float in 0 ... 1"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN fails too
        raise ImageUnreadable(f"{display_name} has float values from {low:g} to {high:g}", do="scale them to 0 ... 1")
    notes.append("float: scaled to 8 bits")
    return (values.astype(np.float32).clip(0, 1) * 255 + 0.5).astype(np.uint8)
