"""A JPEG without the two bytes that end it is read, as other programs do; one whose picture is cut is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roi_agent.model.errors import ImageUnreadable
from roi_agent.model.images.loading import load_image
from tests.pictures import NOISE, encoded

NOTE = "JPEG without an end marker: all pixels were read"
SMOOTH = Image.fromarray(NOISE).resize((72, 56), Image.Resampling.BICUBIC)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "grey": ("L", {"quality": 95}),
    "four inks": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "with restarts": ("RGB", {"restart_marker_blocks": 3}),
    "restarts, progressive": ("RGB", {"restart_marker_rows": 1, "progressive": True}),
    "even": ("1", {}),
}


def jpeg(kind: str) -> bytes:
    mode, options = KINDS[kind]
    picture = Image.new("RGB", (72, 56), (90, 140, 30)) if mode == "1" else SMOOTH.convert(mode)
    return encoded(picture, "JPEG", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_its_end_mark_is_read_with_a_note(kind: str, tmp_path: Path) -> None:
    data = jpeg(kind)
    whole = load_image(data)
    (tmp_path / "cut.jpg").write_bytes(data[:-2])
    for source in (data[:-2], data[:-1], data[:-2] + bytes(100), tmp_path / "cut.jpg", Image.open(io.BytesIO(data[:-2]))):
        loaded = load_image(source)
        assert loaded.pixels.tobytes() == whole.pixels.tobytes()
        assert loaded.notes == (NOTE,) or (isinstance(source, bytes) and source.endswith(b"\0") and not loaded.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_is_read_whole_or_refused_wherever_it_is_cut(kind: str) -> None:
    data = jpeg(kind)
    whole = np.asarray(load_image(data).pixels).astype(int)
    read = 0
    for length in range(0, len(data) - 2, 3 if len(data) > 3000 else 1):
        try:
            loaded = load_image(data[:length])
        except ImageUnreadable:
            continue
        read += 1
        assert loaded.notes == (NOTE,)
        assert np.abs(np.asarray(loaded.pixels) - whole).max() <= 8, length
    assert read <= 20 if kind != "even" else True  # the last bits of the last block
