"""Images: whatever a user holds becomes an upright 8-bit RGB picture, or a coded error.

Bytes come from strangers. So the format is chosen by the first bytes among a fixed few, the number of pixels is
checked in the header before anything is decoded, and no word of the decoder (it may hold an address from memory)
gets into a message. Pillow's `Image.open` is not used: it warns about large pictures instead of asking us first, and
warnings cannot be caught in one thread alone. No global state is read or changed.
"""

import base64
import binascii
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin
from PIL import WebPImagePlugin

from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting, RoiAgentError

MAX_PIXELS = 50_000_000
MAX_BYTES = 64 * 2**20

# From here on Pillow itself warns, in places that we cannot reach; a larger limit of ours would let that out.
_PILLOW_PIXELS = 89_478_485

# A multi-picture JPEG (MPO) starts as any JPEG does and is read as one: its first picture is the photo.
_OPENERS: tuple[tuple[bytes, Callable[[IO[bytes]], Image.Image]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    *((magic, TiffImagePlugin.TiffImageFile) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((b"P%d" % kind, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
)
_ALLOWED = "give a PNG, JPEG, WebP, GIF, BMP, TIFF or PPM image"
_AGAIN = "open it in an image program and save it again"
_EXIF_ORIENTATION, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 0x0112, 322, 323

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An upright RGB image.

    pixels: the picture, mode RGB; treat it as read-only, for caches know it by its digest.
    source: where it came from, in a word: a file's name, "bytes", "array", "PIL image", "data URL", "file".
    notes: what was changed on the way in, one sentence each.
    """

    pixels: Image.Image = field(repr=False)
    source: str
    notes: tuple[str, ...] = ()
    _digest: list[str] = field(default_factory=list, init=False, repr=False)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.size

    def digest(self) -> str:
        """SHA-256 over mode, size and pixels, in hexadecimal: equal exactly for equal pictures."""
        if not self._digest:
            width, height = self.size_wh
            made = hashlib.sha256(f"{self.pixels.mode} {width} x {height}\n".encode())
            made.update(self.pixels.tobytes())
            self._digest.append(made.hexdigest())
        return self._digest[0]


def load_image(source: object, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> LoadedImage:
    """The image as upright RGB: EXIF applied, transparency over white, 16 bits scaled to 8, first frame.

    source: a path, the bytes of a file, an open binary file (read from its start), a data:image/...;base64 URL, a
        PIL image, a LoadedImage, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16, bool, or
        float in [0, 1].
    max_pixels: width x height at most, checked before decoding.  max_bytes: size of the file at most.
    Errors: ImageUnreadable, ImageTooLarge, and InvalidSetting for a limit; nothing else for any bytes.
    """
    if not 1 <= max_pixels <= _PILLOW_PIXELS:
        raise InvalidSetting(f"max_pixels is {max_pixels}", do=f"give 1 to {_PILLOW_PIXELS}")
    if isinstance(source, LoadedImage):
        _check_pixels(source.size_wh, "the image", max_pixels)
        return source
    if isinstance(source, np.ndarray):
        _check_shape(source.shape, max_pixels)
        return _finish(Image.fromarray(_array_to_8_bits(source)), "array", "the array", max_pixels, own=True)
    if isinstance(source, Image.Image):
        with _only_ours("the PIL image"):
            return _finish(source, "PIL image", "the PIL image", max_pixels, own=False)
    name, shown, data = _read(source, max_bytes)
    if not data:
        raise ImageUnreadable(f"{shown} is empty", do=_ALLOWED)
    opener = next((opener for magic, opener in _OPENERS if data.startswith(magic)), None)
    if opener is None:
        raise ImageUnreadable(f"{shown} is in no image format that we read", do=_ALLOWED)
    with _only_ours(shown):
        if opener is GifImagePlugin.GifImageFile:
            _check_pixels(_gif_size(io.BytesIO(data)), shown, max_pixels)
        return _finish(opener(io.BytesIO(data)), name, shown, max_pixels, own=True)


@contextmanager
def _only_ours(shown: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a coded error that repeats none of its words."""
    try:
        yield
    except RoiAgentError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise ImageTooLarge(f"{shown} grows too large when decoded", do="make the image smaller") from None
    except Exception:
        raise ImageUnreadable(f"{shown} is damaged or cut short", do=_AGAIN) from None


def _finish(image: Image.Image, name: str, shown: str, max_pixels: int, *, own: bool) -> LoadedImage:
    """Decode, convert and turn.  own: we opened it, so its frames may be counted, which moves through the file."""
    _check_pixels(image.size, shown, max_pixels)
    tags: Any = getattr(image, "tag_v2", {})
    if _TIFF_TILE_WIDTH in tags and _TIFF_TILE_HEIGHT in tags:
        # A small picture may hide one huge tile, which is decoded whole.
        _check_pixels((int(tags[_TIFF_TILE_WIDTH]), int(tags[_TIFF_TILE_HEIGHT])), f"a tile of {shown}", max_pixels)
    notes: list[str] = []
    # Pillow turns a TIFF itself while decoding and forgets the tag; a PNG may hold its tag after the pixels.
    before = _orientation(image, []) if tags else 1
    transparent = _transparent_colour(image)
    image.load()
    orientation = _orientation(image, notes)
    rgb = _to_rgb(image, transparent, shown, notes)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if orientation in _UPRIGHT or before in _UPRIGHT:
        notes.append("rotated upright by EXIF")
    if own:
        notes.extend(_frame_notes(image))
    return LoadedImage(rgb, name, tuple(notes))


def _to_rgb(image: Image.Image, transparent: object, shown: str, notes: list[str]) -> Image.Image:
    """A decoded image of any mode as a new RGB image; never shares memory with it."""
    if image.mode.startswith("I") or image.mode == "F":
        notes.append("16-bit: scaled to 8 bits" if image.mode != "F" else "float: scaled to 8 bits")
        values = np.asarray(image)
        grey = Image.fromarray(_array_to_8_bits(values.astype(np.uint16) if _fits_16_bits(values) else values, shown))
        if isinstance(transparent, int):
            notes.append("transparency laid over white")
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
    notes.append("transparency laid over white")
    rgb = Image.new("RGB", image.size, "white")
    rgb.paste(rgba, mask=alpha)
    return rgb


def _transparent_colour(image: Image.Image) -> object:
    """The colour that stands for transparency, on the scale of the decoded pixels; asked before decoding.

    Pillow leaves it on the scale of the file, so that it misses in 2-bit and 4-bit grey and in 16-bit colour.
    """
    colour = image.info.get("transparency")
    raw_mode = next((tile[3] for tile in getattr(image, "tile", [])), None)
    if isinstance(colour, int) and raw_mode in ("L;2", "L;4"):
        return colour * (85 if raw_mode == "L;2" else 17)
    if isinstance(colour, tuple) and raw_mode == "RGB;16B":
        return tuple(channel >> 8 for channel in colour)
    return colour


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """EXIF's orientation, 1 (upright) to 8."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a damaged block raises anything; the picture itself is whole
        notes.append("EXIF unreadable: not rotated")
        return 1
    return value if isinstance(value, int) else 1


def _frame_notes(image: Image.Image) -> list[str]:
    """What was left out of an animation or of a file with many pages."""
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is damaged, and we do not need it
        return ["animated: first frame used"]
    return [f"animated: first of {frames} frames used"] if frames > 1 else []


def _array_to_8_bits(values: NDArray[Any], shown: str = "the array") -> NDArray[np.uint8]:
    """uint8, uint16, bool, or float in [0, 1], of any shape, as uint8 over the same range."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        table = (np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535
        return table.astype(np.uint8)[values]
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (0 <= low and high <= 1):  # NaN fails too
            raise ImageUnreadable(f"{shown} has float values from {low:g} to {high:g}", do="scale them to 0 ... 1")
        return (values.astype(np.float32) * 255 + 0.5).astype(np.uint8)
    raise ImageUnreadable(f"{shown} has values of type {values.dtype.name}", do="give uint8, uint16, bool, or float in 0 ... 1")


def _fits_16_bits(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iu" and int(values.min()) >= 0 and int(values.max()) <= 65535


def _check_shape(shape: tuple[int, ...], max_pixels: int) -> None:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ImageUnreadable(f"the array has the shape {shape}", do="give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    _check_pixels((shape[1], shape[0]), "the array", max_pixels)


def _check_pixels(size_wh: tuple[int, int], shown: str, max_pixels: int) -> None:
    width, height = size_wh
    if width < 1 or height < 1:
        raise ImageUnreadable(f"{shown} is {width} x {height} pixels", do="give an image of at least one pixel")
    if width * height > max_pixels:
        problem = f"{shown} is {width} x {height} pixels, and {max_pixels} pixels are allowed"
        raise ImageTooLarge(problem, do="make it smaller, or cut it into parts")


def _gif_size(file: IO[bytes]) -> tuple[int, int]:
    """The size that Pillow will give a GIF: the screen, grown by the first frame where that reaches outside."""

    def block() -> bytes:
        return file.read(file.read(1)[0])

    header = file.read(13)
    if header[10] & 128:
        file.seek(3 << (header[10] & 7) + 1, os.SEEK_CUR)
    while (kind := file.read(1)) not in (b",", b";", b""):
        if kind == b"!":
            label, first = file.read(1), block()
            if label == b"\xff" and first.startswith(b"NETSCAPE2.0"):
                block()
            while (label != b"\xfe" or first) and block():
                pass
    width, height = int.from_bytes(header[6:8], "little"), int.from_bytes(header[8:10], "little")
    left, top, wide, high = (int.from_bytes(file.read(2), "little") for _ in range(4))
    return max(width, left + wide), max(height, top + high)


def _read(source: object, max_bytes: int) -> tuple[str, str, bytes]:
    """Source in a word, the same for messages, and the bytes, at most max_bytes of them."""
    if isinstance(source, bytes | bytearray | memoryview):
        name, shown, data = "bytes", "the image", bytes(source[: max_bytes + 1])
    elif isinstance(source, str) and source[:5].lower() == "data:":
        name, shown, data = "data URL", "the data URL", _data_url(source, max_bytes)
    elif isinstance(source, str) and source.split("://")[0].lower() in ("http", "https"):
        raise ImageUnreadable("an image is given by its web address", do="download it first, and give the file")
    elif isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        name, shown = os.path.basename(path), repr(path if len(path) <= 200 else path[:200] + "...")
        data = _read_file(path, shown, max_bytes)
    elif hasattr(source, "read"):
        name, shown, data = "file", "the open file", _read_open(source, max_bytes)
    else:
        raise ImageUnreadable(f"an image is given as a {type(source).__name__}", do="give a path, bytes, a PIL image or an array")
    if len(data) > max_bytes:
        raise ImageTooLarge(f"{shown} has more than {max_bytes} bytes", do="make the image smaller")
    return name, shown, data


def _read_file(path: str, shown: str, max_bytes: int) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                return file.read(max_bytes + 1)
        problem = "is a folder" if stat.S_ISDIR(mode) else "is not a file"  # a pipe or a device may never end
    except (FileNotFoundError, NotADirectoryError):
        raise ImageUnreadable(f"there is no file {shown}", do="check the path") from None
    except PermissionError:
        problem = "may not be read by this user"
    except (OSError, ValueError):
        problem = "cannot be read"
    raise ImageUnreadable(f"{shown} {problem}", do="give the path of an image file") from None


def _read_open(source: Any, max_bytes: int) -> bytes:
    try:
        if source.seekable():
            source.seek(0)
        data = source.read(max_bytes + 1)
    except Exception:  # any object may stand here
        raise ImageUnreadable("the open file cannot be read", do="open it for reading, in binary mode") from None
    if not isinstance(data, bytes):
        raise ImageUnreadable("the open file gives text", do="open it in binary mode")
    return data


def _data_url(url: str, max_bytes: int) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.lower().startswith("data:image/") or not head.lower().endswith(";base64"):
        raise ImageUnreadable("the data URL is not of an image in base64", do="write data:image/png;base64,...")
    if len(body) > 2 * max_bytes + 8:
        raise ImageTooLarge(f"the data URL has more than {max_bytes} bytes", do="make the image smaller")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ImageUnreadable("the data URL is not valid base64", do="encode the bytes of the file once more") from None
