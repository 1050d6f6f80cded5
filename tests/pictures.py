"""Pictures for tests, some of them made by hand because no library would write them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def raw_png(size_wh: tuple[int, int], depth: int, colour: int, data: bytes, *, transparent: bytes = b"") -> bytes:
    """A PNG by hand, with what Pillow would not write.  data: the compressed rows, each after a zero byte."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size_wh, depth, colour, 0, 0, 0))
    key = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def raw_gif(screen_wh: tuple[int, int], frame_xywh: tuple[int, int, int, int], *, frames: int = 1) -> bytes:
    """A GIF whose frame may reach outside its screen, behind every kind of extension."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen_wh, 0x80, 0, 0) + bytes(BLACK + WHITE)
    head += b"!\xf9\x04\x08\0\0\0\0" + b"!\xfe\x03abc\0" + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return head + (b"," + struct.pack("<HHHHB", *frame_xywh, 0) + b"\x02\x02D\x01\0") * frames + b";"


EVERY_FORMAT = [
    encoded(PHOTO, "PNG"),
    encoded(PHOTO, "JPEG"),
    encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)]),
    encoded(PHOTO, "WEBP"),
    encoded(PHOTO, "BMP"),
    encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    encoded(PHOTO, "PPM"),
    encoded(PHOTO.convert("P"), "PNG", transparency=3, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
]
