"""Parsing of sizes, boxes and points on the command line."""

import re

from roi_agent.model.errors import BoxFormatUnknown, InvalidSetting, PointInvalid

_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def num_bytes(text: str | None) -> int | None:
    """Parse a size in bytes: "12GB", "500 MiB" or "1000".  Error: InvalidSetting."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*([KMG]I?|)B?\s*", text.upper())
    if not match or not float(match[1]):
        raise InvalidSetting(f"the size {text!r} is unclear", do="write 12GB, 500MiB or a number of bytes")
    return round(float(match[1]) * _SIZES[match[2]])


def boxes(texts: list[str] | None) -> list[list[float]]:
    return [numbers(text) for text in texts or ()]


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BoxFormatUnknown(f"the box {text.strip()!r} is not four numbers", do="write --box 10,20,110,220") from None


def points(texts: list[str] | None) -> list[tuple[float, float]]:
    """Parse the points of `--point X,Y`.  Error: PointInvalid."""
    found = []
    for text in texts or ():
        parts = text.split(",")
        try:
            x, y = (float(part) for part in parts)
        except ValueError:
            raise PointInvalid(f"the point {text.strip()!r} is not two numbers", do="write --point 120,80") from None
        found.append((x, y))
    return found
