"""Images: every picture comes in upright and 8-bit."""

import base64
import io
import os
import pathlib
import struct
import sys
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from roi_agent.model.errors import ImageUnreadable, MissingExtra
from roi_agent.model.images.loading import LoadedImage, image_size, load_image
from tests.pictures import BLACK, EVERY_FORMAT, NOISE, PHOTO, RED, WHITE, encoded, raw_gif, raw_png


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


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF", "JPEG2000", "J2K", "HEIF"])
def test_every_format_is_read(format: str) -> None:
    flat = Image.new("RGB", (5, 4), RED)
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    options = {"no_jp2": True} if format == "J2K" else {}
    loaded = load_image(encoded(flat, format.replace("J2K", "JPEG2000"), **options))
    assert loaded.size_wh == (5, 4)
    assert np.abs(np.asarray(loaded.pixels).astype(int) - RED).max() <= 6


def test_16_bits_of_jpeg_2000_and_colours_of_avif_are_kept() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    loaded = load_image(encoded(Image.fromarray(ramp), "JPEG2000", irreversible=False))
    assert np.abs(np.asarray(loaded.pixels)[..., 0].astype(int) - ramp / 257).max() <= 2
    assert loaded.notes == ("16-bit: scaled to 8 bits",)
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert load_image(encoded(clear, "AVIF")).notes == ("transparency laid over white",)


def test_heic_without_its_package_names_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pillow_heif", "pillow_heif.as_plugin"):
        monkeypatch.setitem(sys.modules, name, None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    (tmp_path / "phone.heic").write_bytes(data)
    for source in (data, tmp_path / "phone.heic"):
        with pytest.raises(MissingExtra, match=r"HEIC.*pip install 'roi-agent\[heic\]'"):
            load_image(source)
    with pytest.raises(MissingExtra):
        image_size(tmp_path / "phone.heic")


@pytest.mark.parametrize("format", ["EPS", "PCX", "TGA", "ICO", "SGI", "PDF"])
def test_other_formats_are_not(format: str) -> None:
    with pytest.raises(ImageUnreadable, match="not in a supported image format"):
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
        (16, 0, struct.pack(">4H", 0, 4660, 257, 65535), struct.pack(">H", 4660), [BLACK, WHITE, (1,) * 3, WHITE]),
        (16, 2, struct.pack(">12H", *[4660] * 3, *[0] * 9), struct.pack(">3H", *[4660] * 3), [WHITE, BLACK, BLACK, BLACK]),
    ],
)
def test_a_transparent_colour_is_found_at_every_depth(depth: int, colour: int, row: bytes, key: bytes, expected: Any) -> None:
    assert colours(load_image(raw_png((4, 1), depth, colour, zlib.compress(b"\0" + row), transparent=key))) == expected


# What is turned, chosen and found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_the_size_of_a_file_is_that_of_its_picture(format: str, orientation: int, tmp_path: pathlib.Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "picture"
    file.write_bytes(encoded(PHOTO, format, exif=exif))
    assert image_size(file) == load_image(file).size_wh


def test_the_size_of_every_format_is_read_and_of_nothing_else(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "picture"
    for data in EVERY_FORMAT:
        file.write_bytes(data)
        assert image_size(file) == load_image(file).size_wh
    for data in (b"", b"GIF", b"GIF89a", EVERY_FORMAT[0][:20], b"no picture at all"):
        file.write_bytes(data)
        with pytest.raises(ImageUnreadable):
            image_size(file)
    with pytest.raises(ImageUnreadable, match="there is no file"):
        image_size(tmp_path / "none.png")


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_unknown_orientation_turns_nothing(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert load_image(encoded(PHOTO, "PNG", exif=exif)).pixels.tobytes() == NOISE.tobytes()


def test_unreadable_exif_is_noted() -> None:
    loaded = load_image(encoded(PHOTO, "PNG", exif=b"Exif\0\0MM\0*\0\0"))
    assert loaded.notes == ("EXIF unreadable: not rotated",)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (255, 100, 50)]
    options = {"lossless": True} if format == "WEBP" else {}
    loaded = load_image(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
    assert np.abs(np.asarray(loaded.pixels).astype(int) - RED).max() <= (6 if format == "AVIF" else 0)
    assert loaded.notes == ("animated: first of 3 frames used",)


def test_frames_of_a_long_file_stay_uncounted() -> None:
    assert load_image(raw_gif((1, 1), (0, 0, 1, 1), frames=300_000)).notes == ("animated: first frame used",)


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


def test_no_global_state_is_changed_and_threads_may_load_at_once() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    expected = [load_image(data).digest() for data in EVERY_FORMAT[:7]]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append([load_image(data).digest() for data in EVERY_FORMAT[:7]])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
