"""Boxes drawn with the mouse in a real JupyterLab: `pick` as people meet it, in Debian's Chromium."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from roi_agent import Box, Region
from roi_agent.model.domain.nano import NANO
from roi_agent.model.geometry.masks import Mask
from tests.browser import browser
from tests.lab import Reader, lab, write_notebook
from tests.serving import ROOT

pytest.importorskip("jupyterlab")

UMBRELLA, SQUARE = (123, 194, 303, 377), (315, 145, 504, 334)  # of examples/scene1.png, 512 x 512 pixels


def filled(x1: int, y1: int, x2: int, y2: int) -> Mask:
    pixels = np.zeros((512, 512), bool)
    pixels[y1:y2, x1:x2] = True
    return Mask.from_array(pixels)


GIVEN = [
    Region(
        "region6", Box(14.25, 53.7, 84.9, 133.6), "flag", 0.75, "find_regions", "flags", "image3", mask=filled(16, 60, 80, 95)
    ),
    Region("region7", Box(300, 20, 380, 90), "flag", 0.125, "find_regions"),  # nothing is there
    Region("region8", Box(112, 49, 216, 174), "flag", 0.625, "find_regions", mask=filled(150, 60, 210, 80)),  # beside a flag
    Region("region9", Box(179.5, 388.2, 303.25, 466.5), "flag", 0.25, "find_regions", mask=filled(180, 420, 300, 450)),  # a car
]
LOAD = """
import json
from roi_agent import load_region_model
from roi_agent.notebook import pick
model = load_region_model("nano")
print("ready")
"""
TELL = """
answers = model.ask_each(image, "What is <region>?", drawn)
print(json.dumps([[region.to_dict() for region in drawn], [answer.text for answer in answers]]))
"""
CELLS = [
    LOAD,
    "image = 'scene1.png'\ndrawn = pick(image)\ndrawn",
    "image = 'large.png'\ndrawn = pick(image)\ndrawn",
    "image = 'scene1.png'\ndrawn = pick(image, json.load(open('given.json')), ['flag', 'car'])\ndrawn",
    TELL,
]
SCENE, LARGE, WITH_REGIONS, TOLD = 1, 2, 3, 4


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody with a notebook, in which nano is loaded; nothing is fetched from elsewhere, and no script fails."""
    folder = tmp_path_factory.mktemp("notebooks")
    scene = shutil.copy(ROOT / "examples" / "scene1.png", folder)
    Image.open(scene).resize((2048, 2048)).save(folder / "large.png")
    (folder / "given.json").write_text(json.dumps([region.to_dict() for region in GIVEN]))
    write_notebook(folder / "picking.ipynb", CELLS)
    with browser() as chromium, lab(folder, tmp_path_factory.mktemp("lab")) as address:
        opened = Reader(chromium, address.format("picking.ipynb"))
        assert opened.run(0) == f"{NANO}\nready"
        yield opened
        home = address.partition("/lab/")[0]
        assert [url for url in opened.requests if not url.startswith((home, "data:", "blob:"))] == []
        assert opened.requests and opened.faults == []


def told(reader: Reader) -> tuple[list[dict[str, Any]], list[str]]:
    """The regions that the next cell has, and what nano says each is."""
    regions, answers = json.loads(reader.run(TOLD))
    return regions, answers


def near(box: Sequence[float], other: Sequence[float], within: float = 1.5) -> bool:
    """Whether each side of a box lies so many pixels from the other one's, at most."""
    return bool(np.allclose(box, other, rtol=0, atol=within))


@pytest.mark.parametrize(("cell", "side", "sent"), [(SCENE, 512, 512), (LARGE, 2048, 1600)])
def test_two_boxes_are_drawn_and_the_next_cell_asks_about_them(reader: Reader, cell: int, side: int, sent: int) -> None:
    reader.run(cell)
    picture = reader.picture(cell)
    assert picture.sent_side == sent and (picture.shown_side == sent if sent == 512 else picture.shown_side < 800)
    for box in (UMBRELLA, SQUARE):
        picture.drag(*(value * sent / 512 for value in box))
    regions, answers = told(reader)
    assert answers == ["a large orange umbrella", "a large yellow square"]
    assert [(region["name"], region["label"]) for region in regions] == [("region1", "thing"), ("region2", "thing")]
    pixel = side / picture.shown_side  # of the screen, in pixels of the image
    for region, box in zip(regions, (UMBRELLA, SQUARE), strict=True):
        assert near(region["box"], [value * side / 512 for value in box], within=1.5 * pixel)


def test_given_boxes_are_moved_renamed_and_deleted_and_what_nobody_touched_is_as_it_was(reader: Reader) -> None:
    reader.run(WITH_REGIONS)
    picture = reader.picture(WITH_REGIONS)
    untouched, wrong, moved, renamed = GIVEN
    picture.click(*wrong.box.centre)
    reader.page.keyboard.press("Delete")
    picture.drag(*moved.box.centre, moved.box.centre[0] + 30, moved.box.centre[1] - 40)
    picture.click(*renamed.box.centre)
    for key in ("2", "c"):  # the second label, for the box that is marked
        reader.page.keyboard.press(key)
    expect(picture.names).to_have_text(["flag", "flag", "car"])
    regions, answers = told(reader)
    assert answers == ["a small orange flag", "a medium pink flag", "a medium white car"]
    assert regions[0] == replace(untouched, name="region1").to_dict()
    assert near(regions[1].pop("box"), (142, 9, 246, 134))
    assert regions[1] == {"name": "region2", "format": "xyxy", "unit": "pixel", "label": "flag", "score": None, "source": "user"}
    assert regions[2] == replace(renamed, name="region3", label="car", score=None, source="user").to_dict()


def test_a_box_drawn_beyond_an_edge_ends_there(reader: Reader) -> None:
    reader.run(SCENE)
    picture = reader.picture(SCENE)
    picture.drag(330, 380, 600, 560)
    picture.drag(310, 140, 560, -60)
    regions, _ = told(reader)
    assert near(regions[0]["box"], (330, 380, 512, 512))
    assert near(regions[1]["box"], (310, 0, 512, 140))
