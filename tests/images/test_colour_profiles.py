"""Pictures with a colour profile come in as sRGB, so that a yellow thing is yellow whatever its file's numbers are."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roi_agent import Workspace
from roi_agent.model.images.loading import LoadedImage, load_image
from tests.pictures import ADOBE_RGB, PHOTO, PROPHOTO, SRGB, encoded, icc_profile

CONVERTED = "colours converted from the picture's own profile to sRGB"
UNREADABLE = "colour profile unreadable: colours left as they are"
GREEN_RED_BLUE = (SRGB[1], SRGB[0], SRGB[2])
COLOURS = np.array([[[200, 60, 40], [250, 240, 20], [40, 90, 180], [128, 128, 128], [255, 255, 255], [0, 0, 0]]], np.uint8)


def written(rgb: np.ndarray[Any, Any], primaries: tuple[tuple[float, float, float], ...], gamma: float) -> Image.Image:
    """The picture that shows sRGB colours on a display with these primaries and this gamma."""
    linear = np.where(rgb <= 10, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    other = linear @ np.array(SRGB) @ np.linalg.inv(np.array(primaries))
    return Image.fromarray(np.rint(255 * np.clip(other, 0, 1) ** (1 / gamma)).astype(np.uint8))


def pixels(image: LoadedImage) -> np.ndarray[Any, Any]:
    return np.asarray(image.pixels).astype(int)


SPACES = {"Adobe RGB": (ADOBE_RGB, 2.2), "ProPhoto": (PROPHOTO, 1.8), "red and green exchanged": (GREEN_RED_BLUE, 2.2)}


@pytest.mark.parametrize(("primaries", "gamma"), SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("door", ["PNG", "TIFF", "WEBP", "JPEG", "opened", "16-bit"])
def test_colours_are_what_the_profile_says(door: str, primaries: tuple[tuple[float, float, float], ...], gamma: float) -> None:
    large = np.kron(COLOURS, np.ones((16, 16, 1), np.uint8))
    picture, profile = written(large, primaries, gamma), icc_profile(primaries, gamma)
    lossless: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options = lossless.get(door, {})
    source: Any = encoded(picture, "PNG" if door in ("opened", "16-bit") else door, icc_profile=profile, **options)
    if door == "opened":
        source = Image.open(io.BytesIO(source))
    if door == "16-bit":
        source = Image.fromarray(np.asarray(picture)[..., 1].astype(np.uint16) * 257)
        source.info["icc_profile"] = profile
    loaded = load_image(source)
    assert CONVERTED in loaded.notes
    if door != "16-bit":
        assert np.abs(pixels(loaded)[8::16, 8::16] - COLOURS).max() <= (4 if gamma == 1.8 or door == "JPEG" else 2)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "L"])
def test_a_profile_holds_for_palettes_transparency_and_grey(mode: str) -> None:
    grey = mode[0] == "L"
    colours = written(COLOURS, ADOBE_RGB, 1.8)
    picture = colours.quantize() if mode == "P" else colours.convert(mode)
    plain, profile = load_image(picture), icc_profile(() if grey else ADOBE_RGB, 1.8)
    loaded = load_image(encoded(picture, "PNG", icc_profile=profile))
    assert CONVERTED in loaded.notes
    assert np.abs(pixels(loaded) - pixels(plain)).max() > 10
    if not grey:
        assert np.abs(pixels(loaded) - COLOURS).max() <= 4


def test_a_profile_of_srgb_changes_nothing_and_needs_no_note() -> None:
    from PIL import ImageCms

    for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), icc_profile(SRGB, 2.2)):
        loaded = load_image(encoded(PHOTO, "PNG", icc_profile=profile))
        exact = profile != icc_profile(SRGB, 2.2)  # a plain power is a little darker in the shadows
        assert not exact or (loaded.pixels.tobytes(), loaded.notes) == (PHOTO.tobytes(), ())


BROKEN = {
    "no profile": b"not a profile",
    "empty": b"\0",
    "cut short": icc_profile(ADOBE_RGB)[:200],
    "of grey, in colours": icc_profile(),
    "of four inks, in three colours": icc_profile(ADOBE_RGB).replace(b"RGB ", b"CMYK"),
    "spoiled": icc_profile(ADOBE_RGB).replace(b"curv", b"xxxx"),
}


@pytest.mark.parametrize("profile", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_broken_profile_is_a_note_and_no_failure(profile: bytes, mode: str) -> None:
    picture = PHOTO.convert(mode)
    loaded = load_image(encoded(picture, "TIFF", icc_profile=profile))
    assert loaded.notes == (UNREADABLE,)
    assert loaded.pixels.tobytes() == load_image(picture).pixels.tobytes()


def test_colours_are_converted_once(tmp_path: Any) -> None:
    loaded = load_image(encoded(written(COLOURS, ADOBE_RGB, 2.2), "PNG", icc_profile=icc_profile(ADOBE_RGB)))
    assert load_image(loaded.pixels).digest() == loaded.digest()
    workspace = Workspace()
    workspace.add_image(loaded)
    workspace.save(tmp_path / "saved")
    kept = Workspace.load(tmp_path / "saved").image().image
    assert kept.digest() == loaded.digest() and kept.notes == loaded.notes
