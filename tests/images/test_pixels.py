"""Pixels: every mode of Pillow and every type of numpy becomes the same 8-bit RGB."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roi_agent.model.errors import ImageUnreadable
from roi_agent.model.images.loading import LoadedImage, image_size, load_image
from tests.pictures import raw_png, raw_tiff

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def colours(image: LoadedImage) -> list[Any]:
    """The rows of RGB tuples, flat."""
    return [tuple(pixel) for row in np.asarray(image.pixels).tolist() for pixel in row]


def test_16_bits_are_scaled_and_not_cut_off() -> None:
    ramp = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    expected = [0, 0, 1, 128, 255]
    sources: list[Any] = [ramp, ramp.astype(">u2"), encoded(Image.fromarray(ramp), "PNG"), encoded(Image.fromarray(ramp), "TIFF")]
    sources += [Image.fromarray(ramp.astype(np.int32)), encoded(Image.fromarray(ramp.astype(np.int32)), "TIFF")]
    for source in sources:
        loaded = load_image(source)
        assert [red for red, _, _ in colours(loaded)] == expected
        assert loaded.notes == ("16-bit: scaled to 8 bits",)


RAMP = np.linspace(0, 255, 256).reshape(16, 16)  # every level of 8 bits
HOLDERS = [
    "array",
    "RGB array",
    "PIL image",
    "PNG",
    "TIFF",
    "RGB PNG",
    "RGBA PNG",
    "LA PNG",
    "RGB TIFF",
    "RGBA TIFF",
    "PPM",
    "RGB opened",
]


def held(values: np.ndarray[Any, Any], holder: str) -> Any:
    """Whole numbers (H, W) as a picture of 16 bits; one in colour has them in its green, half of them in its red, and no blue."""
    grey = values.astype(np.uint16)
    colour = np.stack([grey // 2, grey, np.full_like(grey, grey.min())], axis=-1)
    clear = np.full_like(grey, 65535)
    size = grey.shape[1], grey.shape[0]
    made: dict[str, Callable[[], Any]] = {
        "array": lambda: grey,
        "RGB array": lambda: colour,
        "PIL image": lambda: Image.fromarray(grey),
        "PNG": lambda: encoded(Image.fromarray(grey), "PNG"),
        "TIFF": lambda: encoded(Image.fromarray(grey), "TIFF"),
        "RGB PNG": lambda: raw_png(size, 16, 2, _png_rows(colour)),
        "RGB opened": lambda: Image.open(io.BytesIO(raw_png(size, 16, 2, _png_rows(colour)))),
        "RGBA PNG": lambda: raw_png(size, 16, 6, _png_rows(np.dstack([colour, clear]))),
        "LA PNG": lambda: raw_png(size, 16, 4, _png_rows(np.dstack([grey, clear]))),
        "RGB TIFF": lambda: raw_tiff(colour),
        "RGBA TIFF": lambda: raw_tiff(np.dstack([colour, clear])),
        "PPM": lambda: b"P6 %d %d 65535\n" % size + colour.astype(">u2").tobytes(),
    }
    return made[holder]()


def _png_rows(values: np.ndarray[Any, Any]) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in values))


def green(image: LoadedImage) -> np.ndarray[Any, Any]:
    return np.asarray(image.pixels)[..., 1].astype(int)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("holder", HOLDERS)
def test_16_bits_are_scaled_from_the_bits_that_the_values_fill(holder: str, bits: int) -> None:
    loaded = load_image(held(np.rint(RAMP * (2**bits - 1) / 255), holder))
    assert np.abs(green(loaded) - RAMP).max() <= 1
    assert loaded.notes == (f"16-bit: its values fill {bits} bits, which were scaled to 8",)


@pytest.mark.parametrize("holder", [each for each in HOLDERS if not each.startswith("RGB") and each != "PPM"])
@pytest.mark.parametrize(("low", "high"), [(7000, 9000), (29_000, 31_000)])
def test_a_narrow_band_of_counts_is_spread_over_8_bits(holder: str, low: int, high: int) -> None:
    loaded = load_image(held(np.rint(low + RAMP * (high - low) / 255), holder))
    assert np.abs(green(loaded) - RAMP).max() <= 1
    assert loaded.notes == (f"16-bit: its values from {low} to {high} were spread over 8 bits",)


def test_a_narrow_band_is_spread_in_colour_too_and_despite_a_dead_pixel() -> None:
    counts = np.rint(7000 + RAMP * 2000 / 255).astype(np.uint16)
    colour = np.stack([counts, counts[::-1], counts.T], axis=-1)
    for source in (colour, raw_png((16, 16), 16, 2, _png_rows(colour)), raw_tiff(colour)):
        assert np.abs(np.asarray(load_image(source).pixels)[..., 0] - RAMP).max() <= 1
    wide = np.kron(counts, np.ones((8, 8), np.uint16))
    wide[0, :2] = 0, 65535
    assert np.abs(green(load_image(wide))[8:] - np.kron(RAMP, np.ones((8, 8)))[8:]).max() <= 1


@pytest.mark.parametrize("value", [0, 200, 9000, 65535])
def test_one_16_bit_value_throughout_is_an_even_picture(value: int) -> None:
    assert len(set(colours(load_image(np.full((4, 4), value, np.uint16))))) == 1


def test_a_picture_of_full_16_bits_is_scaled_as_it_is() -> None:
    for holder in HOLDERS:
        loaded = load_image(held(np.rint(20_000 + RAMP * 40_000 / 255), holder))
        assert np.abs(green(loaded) - (20_000 + RAMP * 40_000 / 255) * 255 / 65535).max() <= 1
        assert loaded.notes == ("16-bit: scaled to 8 bits",)


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_32_bit_values_without_a_known_range_are_refused(value: int) -> None:
    with pytest.raises(ImageUnreadable, match=f"the PIL image has values from .*{value}"):
        load_image(Image.fromarray(np.array([[0, value]], np.int32)))


def test_float_pictures_hold_0_to_1() -> None:
    values = np.array([[0, 0.5, 1]], np.float32)
    for source in (values, values.astype(np.float64), Image.fromarray(values), encoded(Image.fromarray(values), "TIFF")):
        assert [red for red, _, _ in colours(load_image(source))] == [0, 128, 255]
    for bad in (-0.1, 1.1, 255, np.nan, np.inf):
        for source in (np.array([[0, bad]], np.float32), Image.fromarray(np.array([[0, bad]], np.float32))):
            with pytest.raises(ImageUnreadable, match=r"scale them to 0 \.\.\. 1"):
                load_image(source)


def test_a_float_that_is_outside_by_rounding_alone_is_taken() -> None:
    for slack in (1e-7, 1e-6, 1e-4):
        values = np.array([[-slack, 0.5, 1 + slack]])
        for source in (values, values.astype(np.float32), np.dstack([values] * 3), Image.fromarray(values.astype(np.float32))):
            assert [red for red, _, _ in colours(load_image(source))] == [0, 128, 255]
    assert colours(load_image(np.array([[0, 1]], np.float16) * np.float16(1.001))) == [BLACK, WHITE]


UNREAD = {
    "float colours": (np.float32, 3, False, "3 channels of 32-bit float"),
    "float colours and alpha": (np.float32, 4, False, "4 channels of 32-bit float"),
    "double precision": (np.float64, 1, False, "1 channel of 64-bit float"),
    "half precision": (np.float16, 3, False, "3 channels of 16-bit float"),
    "whole numbers of 32 bits": (np.uint32, 3, False, "3 channels of 32-bit integer"),
    "many channels": (np.uint8, 5, False, "5 channels of 8-bit integer"),
    "channels apart": (np.uint16, 3, True, "3 channels of 16-bit integer, stored separately"),
    "float channels apart": (np.float32, 3, True, "3 channels of 32-bit float, stored separately"),
}


@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize(("kind", "channels", "planar", "words"), UNREAD.values(), ids=UNREAD)
def test_a_tiff_that_is_not_read_is_refused_for_what_it_is(
    kind: Any, channels: int, planar: bool, words: str, pages: int, tmp_path: Path
) -> None:
    file = tmp_path / "picture.tif"
    file.write_bytes(raw_tiff(np.ones((6, 8, channels), kind), pages=pages, planar=planar))
    for source in (file, file.read_bytes()):
        with pytest.raises(ImageUnreadable, match=f"a TIFF with {words} is not supported; save it as 8-bit or 16-bit integers"):
            load_image(source)
    with pytest.raises(ImageUnreadable, match=words):
        image_size(file)


def test_a_float_tiff_of_several_pages_gives_its_first() -> None:
    values = np.linspace(0, 1, 48).reshape(6, 8).astype(np.float32)
    loaded = load_image(raw_tiff(values[..., None], pages=3))
    assert np.abs(green(loaded) - values * 255).max() <= 1
    assert loaded.notes == ("float: scaled to 8 bits", "animated: first of 3 frames used")


@pytest.mark.parametrize("mode", ["LA", "PA", "La", "RGBA", "RGBa"])
def test_transparent_pixels_become_white(mode: str) -> None:
    loaded = load_image(Image.new(mode, (2, 1)))
    assert colours(loaded) == [WHITE, WHITE]
    assert loaded.notes == ("transparency laid over white",)


def test_half_transparent_red_is_pink_and_an_opaque_alpha_changes_nothing() -> None:
    half = load_image(np.array([[[255, 0, 0, 128], [255, 0, 0, 255]]], np.uint8))
    assert colours(half) == [(255, 127, 127), RED]
    assert load_image(np.full((1, 1, 4), 255, np.uint8)).notes == ()


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_white(transparency: int | bytes, format: str) -> None:
    if format == "GIF" and isinstance(transparency, bytes):
        transparency = 1
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    loaded = load_image(encoded(image, format, transparency=transparency))
    assert colours(loaded) == [RED, WHITE]
    assert loaded.notes == ("transparency laid over white",)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"])
def test_every_mode_keeps_its_colour(mode: str) -> None:
    grey = Image.new("RGB", (3, 2), WHITE if mode in ("1", "P") else (128, 128, 128))
    loaded = load_image(grey.convert(mode))
    assert loaded.pixels.mode == "RGB"
    assert np.abs(np.asarray(loaded.pixels).astype(int) - np.asarray(grey)).max() <= 2


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    loaded = load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(np.asarray(loaded.pixels).astype(int) - RED).max() <= 6


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[False, True]]), [BLACK, WHITE]),
        (np.array([[0, 7]], np.uint8), [BLACK, (7, 7, 7)]),
        (np.array([[[0], [7]]], np.uint8), [BLACK, (7, 7, 7)]),
        (np.array([[[1, 2, 3], [255, 0, 0]]], np.uint8), [(1, 2, 3), RED]),
        (np.array([[[257, 514, 65535]]], np.uint16), [(1, 2, 255)]),
        (np.array([[[1.0, 0, 0]]], np.float16), [RED]),
        (np.array([[[True, False, False, True]]]), [RED]),
        (np.array([[[1.0, 0, 0, 0]]]), [WHITE]),
        (NOISE[::-1, ::2], [tuple(pixel) for row in NOISE[::-1, ::2].tolist() for pixel in row]),
    ],
)
def test_arrays(array: np.ndarray[Any, Any], expected: list[Any]) -> None:
    assert colours(load_image(array)) == expected


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 4, 3), np.uint8), "4 x 0 pixels"),
        (np.zeros((4, 0), np.uint8), "0 x 4 pixels"),
        (np.zeros((3, 8, 8), np.uint8), "shape (3, 8, 8)"),
        (np.zeros((2, 2, 2), np.uint8), "shape (2, 2, 2)"),
        (np.zeros(4, np.uint8), "shape (4,)"),
        (np.zeros((1, 2, 2, 3), np.uint8), "shape (1, 2, 2, 3)"),
        (np.zeros((2, 2), np.int64), "type int64"),
        (np.zeros((2, 2), np.complex64), "type complex64"),
        (np.array([[None]]), "type object"),
        (np.array([["a"]]), "type <U1"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray[Any, Any], words: str) -> None:
    with pytest.raises(ImageUnreadable) as caught:
        load_image(array)
    assert words in str(caught.value)
