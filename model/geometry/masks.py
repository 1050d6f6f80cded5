"""Masks: the pixels of a region, stored as run lengths.

The run lengths are COCO's: column by column, first a run of zeros, then ones, and so on (the format of
`annotations[].segmentation` in COCO JSON and of `pycocotools.mask`). They come from untrusted files. They are therefore
decoded and checked here, not by pycocotools, whose C code trusts its input.
"""

import hashlib
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roi_agent.model.errors import MaskInvalid
from roi_agent.model.geometry.boxes import PIXEL_LIMIT, Box, checked_size
from roi_agent.model.utils.messages import escaped

_RLE = 'give {"size": [height, width], "counts": ...} as COCO does'


@dataclass(frozen=True)
class Mask:
    """A non-empty set of pixels of an image.

    size_wh: the image in pixels.  runs: lengths of zeros, ones, zeros, ... column by column; they sum to width x height.
    Error: MaskInvalid.
    """

    size_wh: tuple[int, int]
    runs: tuple[int, ...]

    def __post_init__(self) -> None:
        width, height = checked_size(self.size_wh, "a mask")
        if width * height > PIXEL_LIMIT:
            raise MaskInvalid(f"a mask is {width} x {height} pixels", do=f"give one of at most {PIXEL_LIMIT} pixels")
        if any(run < 0 for run in self.runs) or sum(self.runs) != width * height:
            problem = f"the runs of a mask sum to {sum(self.runs)}, and {width} x {height} pixels are {width * height}"
            raise MaskInvalid(problem, do=_RLE)
        if self.area == 0:
            raise MaskInvalid("a mask is empty", do="give a mask of at least one pixel")

    @classmethod
    def from_array(cls, array: object) -> "Mask":
        """Create a mask from an array or tensor (H, W) of bool, or of the numbers 0 and 1 or 0 and 255."""
        values = np.asarray(array)
        if values.ndim != 2 or 0 in values.shape:
            raise MaskInvalid(f"a mask has the shape {values.shape}", do="give an array of shape (height, width)")
        if values.dtype != bool:
            levels = set(np.unique(values).tolist()) if values.dtype.kind in "uif" else {None}
            if not (levels <= {0, 1} or levels <= {0, 255}):
                raise MaskInvalid(f"a mask contains {values.dtype} values other than 0 and 1", do="give a mask of bool")
        height, width = values.shape
        flat = values.astype(bool).ravel(order="F")
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
        return cls((width, height), tuple([0, *runs] if flat[0] else runs))

    @classmethod
    def from_coco(cls, rle: object) -> "Mask":
        """Create a mask from COCO's mapping with "size" [height, width] and "counts", a list of runs or their compressed text."""
        if not isinstance(rle, Mapping) or not {"size", "counts"} <= set(rle):
            raise MaskInvalid(f"a mask is given as {escaped(rle)}", do=_RLE)
        try:
            height, width = map(operator.index, rle["size"])
        except (TypeError, ValueError):
            raise MaskInvalid(f"a mask has the size {escaped(rle['size'])}", do=_RLE) from None
        width, height = checked_size((width, height), "a mask")
        return cls((width, height), _runs(rle["counts"], max_pixels=min(width * height, PIXEL_LIMIT)))

    def to_coco(self) -> dict[str, Any]:
        """COCO's mapping, "counts" as compressed text."""
        width, height = self.size_wh
        return {"size": [height, width], "counts": _compress(self.runs)}

    def to_array(self) -> NDArray[np.bool_]:
        """(H, W) of bool."""
        width, height = self.size_wh
        ones = np.arange(len(self.runs)) % 2 == 1
        return np.repeat(ones, self.runs).reshape((height, width), order="F")

    @property
    def area(self) -> int:
        """Number of pixels."""
        return sum(self.runs[1::2])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size and runs, the key in caches."""
        return hashlib.sha256(np.array([*self.size_wh, *self.runs], dtype=np.int64).tobytes()).hexdigest()

    @cached_property
    def box(self) -> Box:
        """The tight box: the outer edges of the outermost pixels."""
        array = self.to_array()
        rows, columns = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
        return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))

    def intersects(self, box: Box) -> bool:
        """Whether any of its pixels overlaps the box."""
        return bool(self._pixels_of(box).any())

    def crop(self, box: Box) -> "Mask | None":
        """Return the part within a box of whole pixels, as a mask of that box; None if it is empty."""
        pixels = self._pixels_of(box)
        return Mask.from_array(pixels) if pixels.any() else None

    def _pixels_of(self, box: Box) -> NDArray[np.bool_]:
        (x1, y1), (x2, y2) = map(int, box.xyxy[:2]), map(math.ceil, box.xyxy[2:])
        return self.to_array()[y1:y2, x1:x2]

    def pasted(self, at_xy: tuple[int, int], size_wh: tuple[int, int]) -> "Mask":
        """Return the mask in a larger image of size_wh, in which this mask's image has its top left corner at at_xy."""
        width, height = size_wh
        whole = np.zeros((height, width), dtype=bool)
        x, y = at_xy
        whole[y : y + self.size_wh[1], x : x + self.size_wh[0]] = self.to_array()
        return Mask.from_array(whole)


def _runs(counts: object, *, max_pixels: int) -> tuple[int, ...]:
    """Return the runs of a COCO file, of which there are at most max_pixels + 1."""
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    if isinstance(counts, str):
        return _decompress(counts, max_pixels)
    if not isinstance(counts, Sequence) or len(counts) > max_pixels + 1:
        raise MaskInvalid(f"the counts of a mask are {escaped(counts)}", do=_RLE)
    if not all(isinstance(run, int) and not isinstance(run, bool) for run in counts):
        raise MaskInvalid(f"the counts of a mask are {escaped(list(counts))}", do="give whole numbers")
    return tuple(counts)


def _compress(runs: Sequence[int]) -> str:
    """Return COCO's text: differences from the run before last, in groups of five bits, lowest first, each plus 48."""
    text = []
    for index, run in enumerate(runs):
        left = run - (runs[index - 2] if index > 2 else 0)
        more = True
        while more:
            group, left = left & 31, left >> 5
            more = left != (-1 if group & 16 else 0)
            text.append(chr(48 + (group | 32 if more else group)))
    return "".join(text)


def _decompress(text: str, max_pixels: int) -> tuple[int, ...]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40 or len(runs) > max_pixels:
            raise MaskInvalid(f"the counts of a mask cannot be read at {character!r}", do=_RLE)
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise MaskInvalid("the counts of a mask are cut short", do=_RLE)
    return tuple(runs)
