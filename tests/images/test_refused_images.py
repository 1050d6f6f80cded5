"""Images that are refused: broken, too large, or none at all; each with a coded error, before anything is decoded."""

import base64
import io
import os
import pathlib
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roi_agent.model.errors import ImageTooLarge, ImageUnreadable, InvalidSetting, RoiAgentError
from roi_agent.model.images.formats import MAX_BYTES
from roi_agent.model.images.loading import load_image
from tests.pictures import EVERY_FORMAT, NOISE, PHOTO, encoded, raw_gif, raw_png


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Image.new("RGB", (0, 5)), "0 x 5 pixels"),
        (b"", "is empty"),
        (io.BytesIO(b""), "is empty"),
        (b"hello", "not in a supported image format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not in a supported image format"),
        (b"RIFF\0\0\0\0WAVE", "not in a supported image format"),
        (b"\x89PNG\r\n\x1a\n", "damaged or truncated"),
        (b"GIF89a", "damaged or truncated"),
        (io.StringIO("text"), "cannot be read"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,aGVsbG8", "not valid base64"),
        ("data:image/png;base64,\xe9", "not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png,abc", "does not contain a base64 image"),
        ("data:text/plain;base64,aGVsbG8=", "does not contain a base64 image"),
        ("data:", "does not contain a base64 image"),
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
    with pytest.raises(ImageUnreadable, match="permission denied"):
        load_image(tmp_path / "empty.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
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
    code = "import resource, sys; from roi_agent.model.images.loading import load_image\n"
    code += "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    code += "try: load_image(sys.stdin.buffer.read())\n"
    code += "except Exception as error: print(error.code)\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=bomb, capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"image_too_large", b"True"]
    assert done.stderr == b""


@pytest.mark.parametrize("format", ["AVIF", "JPEG2000", "J2K"])
def test_a_huge_size_in_a_header_of_avif_or_jpeg_2000_is_refused_before_decoding(format: str) -> None:
    """Each has it in a place of its own."""
    options = {"no_jp2": True} if format == "J2K" else {}
    data = bytearray(encoded(PHOTO, format.replace("J2K", "JPEG2000"), **options))
    mark, step = {"AVIF": (b"ispe", 8), "JPEG2000": (b"ihdr", 4), "J2K": (b"\xff\x51", 6)}[format]
    place = data.index(mark) + step
    data[place : place + 8] = struct.pack(">II", 20000, 20000)
    with pytest.raises((ImageTooLarge, ImageUnreadable), match=r"20000 x 20000|tiles|damaged"):
        load_image(bytes(data))
    wide = bytearray(encoded(PHOTO, "AVIF"))
    place = wide.index(b"ispe") + 8
    wide[place : place + 8] = struct.pack(">II", 9000, 9000)
    with pytest.raises(ImageTooLarge, match="9000 x 9000 pixels, over"):
        load_image(bytes(wide))


@pytest.mark.parametrize("change", [{"tiles": 1}, {"components": 200}])
def test_jpeg_2000_of_countless_parts_is_refused_before_decoding(change: dict[str, int]) -> None:
    data = bytearray(encoded(Image.new("L", (4000, 4000)), "JPEG2000"))
    place = data.index(b"\xff\x4f\xff\x51") + 4
    if "tiles" in change:
        data[place + 20 : place + 28] = struct.pack(">II", change["tiles"], change["tiles"])
    else:
        data[place + 36 : place + 38] = struct.pack(">H", change["components"])
    with pytest.raises(ImageUnreadable, match="JPEG 2000 tiles" if "tiles" in change else "200 channels"):
        load_image(bytes(data))


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


# Any bytes at all


def assert_image_or_coded_error(data: bytes) -> None:
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
    assert_image_or_coded_error(magic + data)


@given(
    st.sampled_from(EVERY_FORMAT), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.integers(0, 40)
)
@settings(deadline=None, max_examples=300)
def test_damaged_files_are_an_image_or_a_coded_error(seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    assert_image_or_coded_error(bytes(data[: len(data) - cut]))


@pytest.mark.parametrize("speed", [10, 6])
def test_a_huge_frame_in_a_small_avif_is_refused_before_decoding(speed: int) -> None:
    data = bytearray(encoded(Image.new("RGB", (2000, 1500), "red"), "AVIF", speed=speed))
    assert load_image(bytes(data)).size_wh == (2000, 1500)
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", 16, 12)
    with pytest.raises(ImageTooLarge, match="a frame of the image is 2000 x 1500 pixels"):
        load_image(bytes(data), max_pixels=1_000_000)
    animated = encoded(PHOTO, "AVIF", save_all=True, append_images=[PHOTO.rotate(180)])
    with pytest.raises(ImageTooLarge):
        load_image(animated, max_pixels=47)
