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


def raw_tiff(values: np.ndarray[Any, Any], *, pages: int = 1, planar: bool = False) -> bytes:
    """An uncompressed little-endian TIFF by hand, of types that Pillow does not write.

    values: (H, W, C), of float or unsigned whole numbers, the same on every page.
    """
    height, width, channels = values.shape
    planes = [values[..., index] for index in range(channels)] if planar else [values]
    strips = [np.ascontiguousarray(plane).astype(values.dtype.newbyteorder("<")).tobytes() for plane in planes]
    kind = {"f": 3, "u": 1, "i": 2}[values.dtype.kind]
    found = b"II*\0" + struct.pack("<I", 8)
    for page in range(pages):
        tags: dict[int, tuple[int, ...]] = {
            256: (width,),
            257: (height,),
            258: (8 * values.dtype.itemsize,) * channels,
            259: (1,),
        }
        tags |= {262: (2 if channels > 2 else 1,), 277: (channels,), 278: (height,), 279: tuple(map(len, strips))}
        tags |= {284: (2 if planar else 1,), 339: (kind,) * channels, 273: (0,) * len(strips)}
        tags |= {338: (2,)} if channels in (2, 4) else {}
        start = len(found) + 2 + 12 * len(tags) + 4
        beside = b""

        def put(data: bytes, start: int = start) -> int:
            nonlocal beside
            beside += data
            return start + len(beside) - len(data)

        tags[273] = tuple(put(strip) for strip in strips)
        entries = b""
        for tag, each in sorted(tags.items()):
            packed = struct.pack(f"<{len(each)}I", *each)
            entries += struct.pack("<HHI", tag, 4, len(each)) + (packed if len(each) == 1 else struct.pack("<I", put(packed)))
        following = start + len(beside) if page + 1 < pages else 0
        found += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + beside
    return found


# What three primaries are at full strength, as XYZ at D50.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))


def icc_profile(primaries_xyz: tuple[tuple[float, float, float], ...] = (), gamma: float = 2.2) -> bytes:
    """A colour profile by hand: of a display with these primaries, or of grey where there are none."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249), b"cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)}
    for name, xyz in zip("rgb", primaries_xyz, strict=False):
        tags |= {f"{name}XYZ".encode(): b"XYZ " + bytes(4) + fixed(*xyz), f"{name}TRC".encode(): curve}
    tags |= {} if primaries_xyz else {b"kTRC": curve}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data.ljust(-len(data) // 4 * -4, b"\0")
    head = struct.pack(">I4sI", start + len(body), bytes(4), 0x02100000) + b"mntr" + (b"RGB " if primaries_xyz else b"GRAY")
    head += b"XYZ " + bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


EVERY_FORMAT = [
    encoded(PHOTO, "PNG"),
    encoded(PHOTO, "JPEG"),
    encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)]),
    encoded(PHOTO, "WEBP"),
    encoded(PHOTO, "BMP"),
    encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    encoded(PHOTO, "PPM"),
    encoded(PHOTO, "AVIF"),
    encoded(PHOTO, "JPEG2000"),
    encoded(PHOTO, "JPEG2000", no_jp2=True, irreversible=True),
    raw_png((8, 6), 16, 2, zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in NOISE))),
    encoded(PHOTO, "PNG", icc_profile=icc_profile(ADOBE_RGB)),
    encoded(PHOTO, "JPEG", icc_profile=icc_profile(PROPHOTO, 1.8))[:-2],
    encoded(PHOTO.convert("P"), "PNG", transparency=3, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
]
