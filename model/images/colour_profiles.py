"""Conversion of colours from a picture's own profile (ICC), such as Adobe RGB, to sRGB, on which models are trained."""

import io
from itertools import product
from typing import Any

from PIL import Image, ImageChops, ImageCms

CONVERTED = "colours converted from the picture's own profile to sRGB"
UNREADABLE = "colour profile unreadable: colours left as they are"

_MAX_DIFFERENCE = 2  # 8-bit levels; a profile that changes no colour by more is sRGB under another name
_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's modes by the profile's colour space


def to_srgb(rgb: Image.Image, decoded: Image.Image, notes: list[str]) -> Image.Image:
    """Return the picture in sRGB; adds to the notes.

    rgb: the picture, 8-bit RGB, with the values of its file.  decoded: the picture as Pillow decoded it, with its profile.
    """
    profile = decoded.info.get("icc_profile")
    if not profile:
        return rgb
    try:
        converted = _converted(rgb, decoded, bytes(profile))
    except Exception:  # a damaged profile can raise anything; the picture itself is intact
        notes.append(UNREADABLE)
        return rgb
    notes += [CONVERTED] if converted is not rgb else []
    return converted


def _converted(rgb: Image.Image, decoded: Image.Image, data: bytes) -> Image.Image:
    """Convert the image, or return it unchanged if the profile is sRGB.  Errors: any exception, for an unusable profile."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    mode = _MODES[profile.profile.xcolor_space]
    compatible = {"RGB": decoded.mode != "CMYK", "L": decoded.mode.split(";")[0] in _GREY_MODES, "CMYK": decoded.mode == "CMYK"}
    if not compatible[mode]:
        raise ValueError
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "RGB" and _is_srgb(transform):
        return rgb
    source = {"RGB": rgb, "L": rgb.getchannel(0), "CMYK": decoded}[mode]
    return transform.apply(source)


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    colours = Image.new("RGB", (512, 1))
    colours.putdata(list(product(range(0, 256, 36), repeat=3)))
    largest: Any = ImageChops.difference(colours, transform.apply(colours)).getextrema()
    return bool(max(high for _, high in largest) <= _MAX_DIFFERENCE)
