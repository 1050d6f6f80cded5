"""Loading of images: any supported source becomes an upright 8-bit RGB picture, or a coded error.

The bytes are untrusted. The format is therefore chosen by the first bytes from a fixed list, the number of pixels is
checked in the header before anything is decoded, and messages never quote the decoder, whose texts may contain memory
addresses. Pillow's `Image.open` is not used: it warns about large pictures instead of refusing them, and
warnings cannot be caught in a single thread. No global state is read or changed.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting, RoiAgentError
from roi_agent.model.geometry.boxes import MAX_PIXELS, PIXEL_LIMIT
from roi_agent.model.images.avif_frames import frame_sizes
from roi_agent.model.images.colour_profiles import to_srgb
from roi_agent.model.images.formats import ALLOWED, HEAD_BYTES, MAX_BYTES, EncodedImage, encoded_of, gif_size, opener_of
from roi_agent.model.images.pixels import array_size_wh, array_to_rgb, to_rgb, transparent_colour
from roi_agent.model.images.sixteen_bit import deep_to_8_bits, is_deep
from roi_agent.model.images.sources import read_source
from roi_agent.model.images.truncated_jpegs import NOTE, read_without_end

MAX_SIDE = 65_535  # of width and height, as in JPEG: Pillow stores a pointer for each row

# Counting the frames of these files means reading them, which a crafted file can make slow: above this size they are not
# counted. The other formats state the number in their header.
_COUNT_BYTES: dict[type, int] = {GifImageFile: 4 * 2**20, TiffImageFile: 2**17}

_ADVICE = "open it in an image program and save it again"
_EXIF_ORIENTATION, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 0x0112, 322, 323

_FLIP = Image.Transpose  # how to undo EXIF's orientations 2 to 8
_TURNS = (_FLIP.FLIP_LEFT_RIGHT, _FLIP.ROTATE_180, _FLIP.FLIP_TOP_BOTTOM, _FLIP.TRANSPOSE, _FLIP.ROTATE_270, _FLIP.TRANSVERSE)
_UPRIGHT = dict(enumerate((*_TURNS, _FLIP.ROTATE_90), start=2))


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An upright RGB image.

    pixels: the picture, mode RGB; treat it as read-only, because caches identify it by its digest.
    source: its origin: a file's name, "bytes", "array", "PIL image", "data URL", "web address", "file".
    notes: changes made while loading, one sentence each.
    whole: the image that this part was cropped from; it decides whether the part is in a model's domain.
    """

    pixels: Image.Image = field(repr=False)
    source: str
    notes: tuple[str, ...] = ()
    whole: "LoadedImage | None" = field(default=None, repr=False)
    _digest: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.size

    @property
    def nbytes(self) -> int:
        """Memory of the pixels in bytes: Pillow uses four for each, and eight for each row."""
        width, height = self.size_wh
        return 4 * width * height + 8 * height

    def digest(self) -> str:
        """SHA-256 of mode, size and pixels, in hexadecimal; equal only for equal pictures."""
        if not self._digest:
            width, height = self.size_wh
            made = hashlib.sha256(f"{self.pixels.mode} {width} x {height}\n".encode())
            made.update(self.pixels.tobytes())
            self._digest.append(made.hexdigest())
        return self._digest[0]

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import notes, picture, soft, stacked

        width, height = self.size_wh
        return stacked(picture(self.pixels, self.source), soft(f"{self.source}, {width} x {height} pixels"), notes(self.notes))


def load_image(source: object, *, max_pixels: int | None = None, max_bytes: int = MAX_BYTES, web: bool = True) -> LoadedImage:
    """Load an image as upright RGB: EXIF applied, transparency over white, 16 bits scaled to 8, first frame.

    source: a path (a text may begin with ~/ or file:), the bytes of a file, an open binary file (read from its start), a
        data:image/...;base64 URL, a web address (http:// or https://) of a public host or of one that ROI_AGENT_IMAGE_HOSTS
        names, a PIL image, a LoadedImage, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16, bool, or
        float in [0, 1].
    max_pixels: maximum width x height, checked before decoding; 50 million by default; a LoadedImage is accepted as it is.
    max_bytes: maximum size of the file.  web: whether to fetch web addresses; False for untrusted sources.
    Errors: ImageUnreadable, ImageTooLarge, and InvalidSetting for a limit or a host; no other exception, whatever the bytes.
    """
    if max_pixels is not None and not 1 <= max_pixels <= PIXEL_LIMIT:
        raise InvalidSetting(f"max_pixels is {max_pixels}", do=f"give 1 to {PIXEL_LIMIT}")
    if isinstance(source, LoadedImage):
        _check_pixels(source.size_wh, "the image", max_pixels or PIXEL_LIMIT)
        return source
    max_pixels = max_pixels or MAX_PIXELS
    if isinstance(source, Image.Image):
        with _coded_errors("the PIL image"):
            return _decode(source, "PIL image", "the PIL image", max_pixels)
    if isinstance(source, np.ndarray):
        _check_pixels(array_size_wh(source), "the array", max_pixels)
        notes: list[str] = []
        with _coded_errors("the array"):
            rgb = array_to_rgb(source, notes)
        return LoadedImage(rgb, "array", tuple(notes))
    name, display_name, data = read_source(source, max_bytes, web=web)
    if not data:
        raise ImageUnreadable(f"{display_name} is empty", do=ALLOWED)
    opener = opener_of(data, display_name)
    with _coded_errors(display_name):
        if opener is GifImageFile:
            _check_pixels(gif_size(data), display_name, max_pixels)
        file = EncodedImage(opener, data)
        return _decode(file.opened(), name, display_name, max_pixels, file)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return width and height in pixels of a file's upright image, from its header alone.  Error: ImageUnreadable."""
    name = os.fsdecode(path)
    display_name = repr(name)
    if not os.path.isfile(name):
        raise ImageUnreadable(f"there is no file {display_name}", do="check the path")
    with _coded_errors(display_name), open(name, "rb") as file:
        opener = opener_of(file.read(HEAD_BYTES), display_name)
        file.seek(0)
        image = opener(file)
        width, height = image.size
        rotated = _orientation(image, []) in (5, 6, 7, 8) and not isinstance(image, TiffImageFile)  # Pillow rotates these itself
        return (height, width) if rotated else (width, height)


@contextmanager
def _coded_errors(display_name: str) -> Iterator[None]:
    """Turn any exception of a decoder into a coded error that does not quote it."""
    try:
        yield
    except RoiAgentError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise ImageTooLarge(f"{display_name} is too large when decoded", do="make the image smaller") from None
    except Exception:
        raise ImageUnreadable(f"{display_name} is damaged or truncated", do=_ADVICE) from None


def _decode(image: Image.Image, name: str, display_name: str, max_pixels: int, file: EncodedImage | None = None) -> LoadedImage:
    """Decode, convert and rotate.  file: the encoded file if it was opened here, so that its frames may be counted."""
    _check_pixels(image.size, display_name, max_pixels)
    tags: Any = getattr(image, "tag_v2", {})
    if _TIFF_TILE_WIDTH in tags and _TIFF_TILE_HEIGHT in tags:
        # A small picture may contain one huge tile, which is decoded as a whole.
        _check_pixels((int(tags[_TIFF_TILE_WIDTH]), int(tags[_TIFF_TILE_HEIGHT])), f"a tile of {display_name}", max_pixels)
    if isinstance(image, AvifImageFile) and (encoded := file or encoded_of(image)):
        for size_wh in frame_sizes(encoded.data):
            _check_pixels(size_wh, f"a frame of {display_name}", max_pixels)
    notes: list[str] = []
    # Pillow rotates a TIFF while decoding and then drops the tag; in other formats the tag may follow the pixels.
    before = _orientation(image, []) if tags else 1
    deep = (file or encoded_of(image)) if is_deep(image) else None
    transparent = image.info.get("transparency") if deep else transparent_colour(image)
    image = _load_pixels(image, file, notes)
    orientation = _orientation(image, notes)
    if deep is not None:
        rgb = to_rgb(deep_to_8_bits(image, deep.opened(), transparent, notes), None, display_name, notes)
    else:
        rgb = to_rgb(image, transparent, display_name, notes)
    rgb = to_srgb(rgb, image, notes)
    rgb.info = {}  # it describes the pixels of the file, not these
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if orientation in _UPRIGHT or before in _UPRIGHT:
        notes.append("rotated upright by EXIF")
    if file is not None:
        notes.extend(_frame_notes(image, len(file.data)))
    return LoadedImage(rgb, name, tuple(notes))


def _load_pixels(image: Image.Image, file: EncodedImage | None, notes: list[str]) -> Image.Image:
    """Return the image with its pixels loaded, also of a JPEG without an end marker.  Errors: those of Pillow."""
    file = file or encoded_of(image) if isinstance(image, JpegImageFile) else None
    try:
        image.load()
        return image
    except OSError:
        whole = read_without_end(file) if file is not None else None
        if whole is None:
            raise
        notes.append(NOTE)
        return whole


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """Return the EXIF orientation, 1 (upright) to 8."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a damaged block can raise anything; the picture itself is intact
        notes.append("EXIF unreadable: not rotated")
        return 1
    return value if isinstance(value, int) else 1


def _frame_notes(image: Image.Image, file_bytes: int) -> list[str]:
    """Return a note if later frames or pages were skipped."""
    try:
        if not getattr(image, "is_animated", False):
            return []
        if file_bytes <= _COUNT_BYTES.get(type(image), file_bytes):
            return [f"animated: first of {getattr(image, 'n_frames', 1)} frames used"]
    except Exception:  # a later frame is damaged, but it is not needed
        pass
    return ["animated: first frame used"]


def _check_pixels(size_wh: tuple[int, int], display_name: str, max_pixels: int) -> None:
    width, height = size_wh
    if width < 1 or height < 1:
        raise ImageUnreadable(f"{display_name} is {width} x {height} pixels", do="give an image of at least one pixel")
    if max(width, height) > MAX_SIDE:
        problem = f"{display_name} is {width} x {height} pixels, over the limit of {MAX_SIDE} per side"
        raise ImageTooLarge(problem, do="make it smaller, or cut it into parts")
    if width * height > max_pixels:
        do = "make it smaller"
        if width * height <= PIXEL_LIMIT:
            do += ", or raise the limit: max_pixels in Python, --max-pixels for commands and servers"
        raise ImageTooLarge(f"{display_name} is {width} x {height} pixels, over the limit of {max_pixels}", do=do)
