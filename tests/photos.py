"""Photos and other pictures that are no rendered scenes, from packages that the tests install anyway."""

import io
from collections.abc import Iterator
from pathlib import Path

import gradio
import matplotlib
import numpy as np
import pytest
import skimage
import sklearn.datasets
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

_FOLDERS = (
    Path(skimage.__file__).parent / "data",
    Path(sklearn.datasets.__file__).parent / "images",
    Path(matplotlib.get_data_path()) / "sample_data",
    Path(gradio.__file__).parent / "media_assets" / "images",
)
CHELSEA = _FOLDERS[0] / "chelsea.png"
FILES = sorted(each for folder in _FOLDERS for each in folder.iterdir() if each.suffix in (".png", ".jpg", ".jpeg"))
# Every fifth, and the others in the sweep.
CASES = [pytest.param(file, id=file.name, marks=pytest.mark.sweep if n % 5 else ()) for n, file in enumerate(FILES)]


def opened(file: Path) -> Image.Image:
    """RGB, over white."""
    with Image.open(file) as opened_file:
        image = opened_file.convert("RGBA")
    over = Image.new("RGBA", image.size, "white")
    over.alpha_composite(image)
    return over.convert("RGB")


def halves(image: Image.Image) -> list[Image.Image]:
    """The image, and five crops of half its width and height: the corners and the middle."""
    width, height = image.width // 2, image.height // 2
    corners = [(0, 0), (width, 0), (0, height), (width, height), (width // 2, height // 2)]
    return [image, *(image.crop((x, y, x + width, y + height)) for x, y in corners)]


def drawn() -> Iterator[tuple[str, Image.Image]]:
    """Pictures that no camera took: plain ones, a chart, a document, a window, a cartoon, patterns."""
    for colour in ("white", "black", "grey", "red", (38, 150, 58), (135, 130, 128)):
        yield f"plain {colour}", Image.new("RGB", (320, 240), colour)
    noise = np.random.default_rng(0)
    yield "noise", Image.fromarray(noise.integers(0, 255, (240, 320, 3), np.uint8))
    yield "grey noise", Image.fromarray(noise.integers(100, 160, (240, 320), np.uint8)).convert("RGB")
    yield "ramp", Image.linear_gradient("L").convert("RGB")
    yield "rings", Image.radial_gradient("L").convert("RGB")
    yield "checks", Image.fromarray((np.indices((256, 256)).sum(0) // 32 % 2 * 255).astype(np.uint8)).convert("RGB")
    yield "chart", _chart("white")
    yield "chart on grey", _chart("#808080")
    for ground in ("white", "#808080"):
        yield f"document on {ground}", _document(ground)
    yield "cartoon", _cartoon()


def _chart(ground: str) -> Image.Image:
    figure = Figure(figsize=(4, 3), facecolor=ground)
    axes = figure.subplots()
    axes.bar(["a", "b", "c"], [3, 5, 2], color=["tab:blue", "tab:orange", "tab:green"])
    axes.plot([0, 1, 2], [1, 4, 3], "r-")
    file = io.BytesIO()
    figure.savefig(file)
    return Image.open(file).convert("RGB")


def _document(ground: str) -> Image.Image:
    image = Image.new("RGB", (400, 500), ground)
    draw = ImageDraw.Draw(image)
    for line in range(24):
        draw.text((30, 20 + 19 * line), "The quick brown fox jumps over the lazy dog, and again.", fill="black")
    return image


def _cartoon() -> Image.Image:
    image = Image.new("RGB", (400, 300), (120, 190, 250))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 200, 400, 300), fill=(110, 200, 90))
    draw.ellipse((300, 20, 370, 90), fill=(250, 230, 80), outline="black", width=3)
    draw.rectangle((60, 120, 200, 240), fill=(200, 120, 90), outline="black", width=3)
    draw.polygon([(50, 120), (130, 50), (210, 120)], fill=(150, 40, 40), outline="black")
    return image
