"""The supported image formats, recognised by a file's first bytes; nothing is decoded here."""

import io
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from roi_agent.model.errors import ImageUnreadable, MissingExtra

Opener = Callable[[IO[bytes]], Image.Image]

ALLOWED = "give a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF, JPEG 2000 or HEIC image"
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
HEAD_BYTES = 256  # enough to recognise the format
MAX_BYTES = 64 * 2**20  # default limit for a file

_MAX_TILES, _MAX_CHANNELS = 4096, 4  # of JPEG 2000: a decoder allocates memory for each before it reads any
_DEEP = ("RGB;16B", 0, 1)  # 16-bit colours, upper byte first, for Pillow's raw decoder
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_BITS, _CHANNELS, _PLANAR, _SAMPLE_FORMAT = 258, 277, 284, 339  # tags of TIFF


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of a file, and its opener."""

    opener: Opener
    data: bytes

    def opened(self) -> Image.Image:
        """Open the file anew, without decoding it."""
        return self.opener(io.BytesIO(self.data))


def opener_of(data: bytes, display_name: str) -> Opener:
    """Return the opener for a file, by its first HEAD_BYTES.  Errors: ImageUnreadable, and MissingExtra for HEIC."""
    brands = _brands(data)
    if brands & {b"avif", b"avis"}:
        return AvifImageFile
    if brands & _HEIC_BRANDS:
        return _heic_opener()
    opener = next((opener for magic, opener in _OPENERS if data.startswith(magic)), None)
    if opener is None or (opener is WebPImageFile and data[8:12] != b"WEBP"):
        raise ImageUnreadable(f"{display_name} is not in a supported image format", do=ALLOWED)
    return opener


def encoded_of(image: Image.Image) -> EncodedImage | None:
    """Return the file of an image that Pillow has opened but not decoded; None without a file, or beyond the first frame."""
    file = getattr(image, "fp", None)
    if not isinstance(image, ImageFile) or file is None or image.tell() != 0:
        return None
    place = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(place)
    return EncodedImage(type(image), data)


def gif_size(data: bytes) -> tuple[int, int]:
    """Return the size that Pillow will give a GIF: the screen, extended by the first frame if that exceeds it."""
    file = io.BytesIO(data)

    def block() -> bytes:
        return file.read(file.read(1)[0])

    header = file.read(13)
    if header[10] & 128:
        file.seek(3 << (header[10] & 7) + 1, io.SEEK_CUR)
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


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of a file in the ISO base media format; empty for any other file."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data))
    return {data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))}


def _heic_opener() -> Opener:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise MissingExtra(
            "HEIC images need the package pillow-heif", do="pip install 'roi-agent[heic]', or save as JPEG"
        ) from None
    return HeifImageFile


def _open_jpeg_2000(file: IO[bytes]) -> Image.Image:
    """Open a JPEG 2000.  Errors: ImageUnreadable for too many tiles or channels; any exception, for a damaged file."""
    place = file.tell()
    for siz in re.finditer(rb"\xff\x4f\xff\x51.{38}", file.read(), re.DOTALL):  # every possible codestream header
        width, height, _, _, tile_width, tile_height, left, top = struct.unpack_from(">8I", siz[0], 8)
        across, down = (width - left) // tile_width + 1, (height - top) // tile_height + 1
        if across * down > _MAX_TILES:
            raise ImageUnreadable(f"the image has {across * down} JPEG 2000 tiles", do=f"save it with at most {_MAX_TILES}")
        if (channels := int.from_bytes(siz[0][40:42], "big")) > _MAX_CHANNELS:
            raise ImageUnreadable(f"the image has {channels} channels", do=f"save it with at most {_MAX_CHANNELS}")
    file.seek(place)
    return Jpeg2KImageFile(file)


def _open_ppm(file: IO[bytes]) -> Image.Image:
    """Open a PPM, with full 16-bit colours as raw bytes: Pillow's own decoder is slow and reduces them to 8 bits."""
    image = PpmImageFile(file)
    deep = [tile.codec_name == "ppm" and tile.args == ("RGB", 65535) for tile in image.tile]
    image.tile = [
        tile._replace(codec_name="raw", args=_DEEP) if each else tile for tile, each in zip(image.tile, deep, strict=True)
    ]
    return image


def _open_tiff(file: IO[bytes]) -> Image.Image:
    """Open a TIFF.  Error: ImageUnreadable if Pillow cannot read its values, or reads them wrongly."""
    start = file.tell()
    try:
        image = TiffImageFile(file)
    except SyntaxError:
        file.seek(start)
        raise _unsupported(_tiff_tags(file)) from None
    if image.tag_v2.get(_PLANAR) == 2 and max(image.tag_v2.get(_BITS, (8,))) > 8 and image.tile[0].codec_name == "raw":
        raise _unsupported(image.tag_v2)
    return image


def _tiff_tags(file: IO[bytes]) -> Mapping[int, Any]:
    """Return the tags of the first page.  Errors: any exception, for a damaged file."""
    head = file.read(8)
    tags = ImageFileDirectory_v2(head + file.read(8) if b"+" in head[2:4] else head)  # + for TIFFs over 4 GB
    file.seek(tags.next)
    tags.load(file)
    return tags


def _unsupported(tags: Mapping[int, Any]) -> ImageUnreadable:
    bits, channels = max(tags.get(_BITS, (1,))), tags.get(_CHANNELS, 1)
    kind = "float" if 3 in tags.get(_SAMPLE_FORMAT, (1,)) else "integer"
    planar = ", stored separately" if tags.get(_PLANAR) == 2 else ""
    problem = f"a TIFF with {channels} {'channels' if channels != 1 else 'channel'} of {bits}-bit {kind}{planar}"
    return ImageUnreadable(
        f"{problem} is not supported", do="save it as 8-bit or 16-bit integers, grey or RGB, or pass it as an array"
    )


# A multi-picture JPEG (MPO) starts like any JPEG and is read as one: its first picture is the photo.
_OPENERS: tuple[tuple[bytes, Opener], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"RIFF", WebPImageFile),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _open_jpeg_2000),
    (b"\xff\x4f\xff\x51", _open_jpeg_2000),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    *((magic, _open_tiff) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((b"P%d" % kind, _open_ppm) for kind in range(1, 7)),
)
