"""Images: every picture comes in upright and 8-bit, and every broken one as a coded error."""

import base64
import io
import os
import pathlib
import struct
import subprocess
import sys
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting, RoiAgentError
from roi_agent.model.images import MAX_BYTES, LoadedImage, load_image

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


def colours(image: LoadedImage) -> list[Any]:
    """The rows of RGB tuples, flat."""
    return [tuple(pixel) for row in np.asarray(image.pixels).tolist() for pixel in row]


# What comes in, through every door


@pytest.mark.parametrize("door", ["str", "Path", "bytes", "bytearray", "memoryview", "BytesIO", "open file", "data URL"])
def test_every_door_gives_the_same_picture(door: str, tmp_path: pathlib.Path) -> None:
    data = encoded(PHOTO, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    at_end = io.BytesIO(data)
    at_end.seek(0, os.SEEK_END)
    with path.open("rb") as file:
        source, name = {
            "str": (str(path), "photo.png"),
            "Path": (path, "photo.png"),
            "bytes": (data, "bytes"),
            "bytearray": (bytearray(data), "bytes"),
            "memoryview": (memoryview(data), "bytes"),
            "BytesIO": (at_end, "file"),
            "open file": (file, "file"),
            "data URL": ("data:image/png;base64," + base64.b64encode(data).decode(), "data URL"),
        }[door]
        loaded = load_image(source)
    assert (loaded.source, loaded.notes, loaded.size_wh) == (name, (), (8, 6))
    assert loaded.pixels.mode == "RGB"
    assert loaded.pixels.tobytes() == NOISE.tobytes()


def test_pil_images_and_arrays_and_loaded_images_come_in_too() -> None:
    from_pil, from_array = load_image(PHOTO), load_image(NOISE)
    assert (from_pil.source, from_array.source) == ("PIL image", "array")
    assert from_pil.digest() == from_array.digest() == load_image(encoded(PHOTO, "PNG")).digest()
    assert load_image(from_pil) is from_pil


def test_the_source_is_copied() -> None:
    array, picture = NOISE.copy(), PHOTO.copy()
    loaded = [load_image(array), load_image(picture)]
    array[:] = 0
    picture.paste(BLACK, (0, 0, 8, 6))
    assert all(image.pixels.tobytes() == NOISE.tobytes() for image in loaded)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO"])
def test_every_format_is_read(format: str) -> None:
    flat = Image.new("RGB", (5, 4), RED)
    loaded = load_image(encoded(flat, format))
    assert loaded.size_wh == (5, 4)
    assert np.abs(np.asarray(loaded.pixels).astype(int) - RED).max() <= 6


@pytest.mark.parametrize("format", ["EPS", "PCX", "TGA", "ICO", "SGI", "PDF"])
def test_other_formats_are_not(format: str) -> None:
    with pytest.raises(ImageUnreadable, match="no image format that we read"):
        load_image(encoded(Image.new("RGB", (16, 16)), format))


def test_one_pixel_is_an_image() -> None:
    assert colours(load_image(encoded(Image.new("RGB", (1, 1), RED), "PNG"))) == [RED]
    assert colours(load_image(np.zeros((1, 1), np.uint8))) == [BLACK]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key", "expected"),
    [
        (1, 0, b"\x70", struct.pack(">H", 0), [WHITE, WHITE, WHITE, WHITE]),
        (2, 0, b"\x1b", struct.pack(">H", 1), [BLACK, WHITE, (170,) * 3, WHITE]),
        (4, 0, b"\x03\x50", struct.pack(">H", 3), [BLACK, WHITE, (85,) * 3, BLACK]),
        (16, 0, struct.pack(">4H", 0, 4660, 257, 514), struct.pack(">H", 4660), [BLACK, WHITE, (1,) * 3, (2,) * 3]),
        (16, 2, struct.pack(">12H", *[4660] * 3, *[0] * 9), struct.pack(">3H", *[4660] * 3), [WHITE, BLACK, BLACK, BLACK]),
    ],
)
def test_a_transparent_colour_is_found_at_every_depth(depth: int, colour: int, row: bytes, key: bytes, expected: Any) -> None:
    assert colours(load_image(raw_png((4, 1), depth, colour, zlib.compress(b"\0" + row), transparent=key))) == expected


# What is turned, chosen and found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_turns_the_picture_upright(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PHOTO, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    opened = Image.open(io.BytesIO(data))
    expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert expected.size == ((8, 6) if orientation < 5 else (6, 8))
    for source in (data, Image.open(io.BytesIO(data))):
        loaded = load_image(source)
        assert loaded.pixels.tobytes() == expected.tobytes()
        assert loaded.size_wh == expected.size
        assert loaded.notes == (() if orientation == 1 else ("rotated upright by EXIF",))


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_unknown_orientation_turns_nothing(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert load_image(encoded(PHOTO, "PNG", exif=exif)).pixels.tobytes() == NOISE.tobytes()


def test_unreadable_exif_is_noted() -> None:
    loaded = load_image(encoded(PHOTO, "PNG", exif=b"Exif\0\0MM\0*\0\0"))
    assert loaded.notes == ("EXIF unreadable: not rotated",)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (255, 100, 50)]
    options = {"lossless": True} if format == "WEBP" else {}
    loaded = load_image(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
    assert set(colours(loaded)) == {RED}
    assert loaded.notes == ("animated: first of 3 frames used",)


def test_frames_of_a_long_file_stay_uncounted() -> None:
    assert load_image(raw_gif((1, 1), (0, 0, 1, 1), frames=300_000)).notes == ("animated: first frame used",)


# What is refused


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Image.new("RGB", (0, 5)), "0 x 5 pixels"),
        (b"", "is empty"),
        (io.BytesIO(b""), "is empty"),
        (b"hello", "no image format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image format"),
        (b"RIFF\0\0\0\0WAVE", "no image format"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"GIF89a", "damaged or cut short"),
        (io.StringIO("text"), "cannot be read"),
        ("http://example.com/a.png", "web address"),
        ("HTTPS://example.com/a.png", "web address"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,aGVsbG8", "not valid base64"),
        ("data:image/png;base64,\xe9", "not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png,abc", "not of an image in base64"),
        ("data:text/plain;base64,aGVsbG8=", "not of an image in base64"),
        ("data:", "not of an image in base64"),
        ("no such file.png", "there is no file 'no such file.png'"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "cannot be read"),
        ("", "there is no file"),
        (3, "a int"),
        (None, "a NoneType"),
        ([[1, 2], [3, 4]], "a list"),
    ],
)
def test_what_is_no_image_is_refused(source: object, words: str) -> None:
    with pytest.raises(ImageUnreadable) as caught:
        load_image(source)
    assert words in str(caught.value)
    assert " at 0x" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.do


def test_files_that_cannot_be_read_say_why(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in {".": "is a folder", "empty.png": "is empty", "pipe.png": "is not a file"}.items():
        with pytest.raises(ImageUnreadable, match=words):
            load_image(tmp_path / name)
    with pytest.raises(ImageUnreadable, match="there is no file"):
        load_image(tmp_path / "empty.png" / "photo.png")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(ImageUnreadable, match="may not be read"):
        load_image(tmp_path / "empty.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_a_file_cut_short_is_refused(format: str) -> None:
    data = encoded(PHOTO.resize((64, 48)), format)
    for part in (0.05, 0.5, 0.8):
        with pytest.raises(ImageUnreadable) as caught:
            load_image(data[: int(len(data) * part)])
        assert "object at" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_lazily_opened_image_cut_short_is_refused() -> None:
    data = encoded(PHOTO.resize((64, 48)), "PNG")
    with pytest.raises(ImageUnreadable, match="the PIL image is damaged"):
        load_image(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize("side", [7072, 9500, 11000, 18000, 2**31 - 1])
def test_a_header_with_too_many_pixels_is_refused(side: int) -> None:
    # From 9,460 on Pillow would warn, from 13,378 on raise; none of that may come through.
    with pytest.raises(ImageTooLarge, match=f"{side} x {side} pixels"):
        load_image(raw_png((side, side), 8, 2, b""))


def test_a_png_bomb_is_not_decoded() -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(480)) + packer.flush()
    bomb = raw_png((20_000, 21_500), 8, 0, packed)
    assert 400_000 < len(bomb) < 600_000
    code = "import resource, sys; from roi_agent.model.images import load_image\n"
    code += "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    code += "try: load_image(sys.stdin.buffer.read())\n"
    code += "except Exception as error: print(error.code)\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=bomb, capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"image_too_large", b"True"]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("screen_wh", "frame_xywh", "size"),
    [((20000, 6000), (0, 0, 1, 1), "20000 x 6000"), ((1, 1), (60000, 0, 5000, 2000), "65000 x 2000")],
)
def test_a_gif_bomb_is_refused(screen_wh: tuple[int, int], frame_xywh: tuple[int, int, int, int], size: str) -> None:
    with pytest.raises(ImageTooLarge, match=size):
        load_image(raw_gif(screen_wh, frame_xywh))


def test_a_huge_tile_in_a_small_tiff_is_refused() -> None:
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30000, 323: 30000, 324: 200, 325: 9}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(ImageTooLarge, match="a tile of the image is 30000 x 30000 pixels"):
        load_image(data.ljust(200, b"\0") + zlib.compress(b""))


def test_the_limits_are_the_callers(tmp_path: pathlib.Path) -> None:
    data = encoded(PHOTO, "PNG")
    (tmp_path / "photo.png").write_bytes(data)
    sources: list[Any] = [data, PHOTO, NOISE, load_image(data), tmp_path / "photo.png", io.BytesIO(data)]
    for source in sources:
        assert load_image(source, max_pixels=48, max_bytes=len(data)).size_wh == (8, 6)
        with pytest.raises(ImageTooLarge, match="over the limit of 47"):
            load_image(source, max_pixels=47)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (data, tmp_path / "photo.png", io.BytesIO(data), url):
        with pytest.raises(ImageTooLarge, match=f"more than {len(data) - 1} bytes"):
            load_image(source, max_bytes=len(data) - 1)
    assert MAX_BYTES == 64 * 2**20
    for limit in (0, -1, 10**9):
        with pytest.raises(InvalidSetting):
            load_image(data, max_pixels=limit)


# The digest


def test_the_digest_knows_pixels_and_size() -> None:
    other = NOISE.copy()
    other[0, 0, 0] ^= 1
    digests = [load_image(array).digest() for array in (NOISE, other, NOISE.reshape(8, 6, 3), NOISE.reshape(4, 12, 3))]
    assert len(set(digests)) == 4
    assert all(len(digest) == 64 for digest in digests)
    image = load_image(NOISE)
    assert image.digest() == image.digest() == digests[0]


def test_a_loaded_image_prints_without_an_address() -> None:
    assert repr(load_image(PHOTO)) == "LoadedImage(source='PIL image', notes=())"


# Any bytes at all

SEEDS = [
    encoded(PHOTO, "PNG"),
    encoded(PHOTO, "JPEG"),
    encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)]),
    encoded(PHOTO, "WEBP"),
    encoded(PHOTO, "BMP"),
    encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    encoded(PHOTO, "PPM"),
    encoded(PHOTO.convert("P"), "PNG", transparency=3, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
]


def accepts(data: bytes) -> None:
    """An image or a coded error, and no word of the decoder."""
    try:
        loaded = load_image(data, max_pixels=10_000)
    except RoiAgentError as error:
        assert isinstance(error, ImageUnreadable | ImageTooLarge)
        assert "0x" not in str(error)
    else:
        assert loaded.pixels.mode == "RGB"
        assert loaded.size_wh[0] * loaded.size_wh[1] <= 10_000


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"P6 "]))
@settings(deadline=None)
def test_random_bytes_are_an_image_or_a_coded_error(data: bytes, magic: bytes) -> None:
    accepts(magic + data)


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.integers(0, 40))
@settings(deadline=None, max_examples=300)
def test_damaged_files_are_an_image_or_a_coded_error(seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    accepts(bytes(data[: len(data) - cut]))


def test_no_global_state_is_changed_and_threads_may_load_at_once() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    expected = [load_image(data).digest() for data in SEEDS[:7]]
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append([load_image(data).digest() for data in SEEDS[:7]])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
