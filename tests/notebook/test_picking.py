"""Boxes drawn with the mouse in a notebook are regions of the original image.

What the front end sets is set here, on the widget itself.
"""

import builtins
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient
from PIL import Image

from roi_agent import Box, Region, Workspace
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting, MissingExtra
from roi_agent.notebook import Picker, gallery, pick
from roi_agent.tools.ask import ask_each
from tests.notebook.pictures import LARGE, MASK, REGION

pytestmark = pytest.mark.filterwarnings("ignore:Traits should be given as instances:DeprecationWarning")  # the widget's own


def drawn(x: float, y: float, width: float, height: float, label: str = "thing") -> dict[str, Any]:
    return {"x": x, "y": y, "width": width, "height": height, "label": label}


def test_what_is_drawn_is_live() -> None:
    picker = pick(LARGE, labels=["cup", "bell"])
    assert (len(picker), picker.boxes, picker.regions) == (0, [], ())
    picker.widget.bboxes = [drawn(10, 20, 30, 40, "bell")]
    assert picker.boxes == [[10, 20, 40, 60]]
    assert picker.regions == (Region("region1", Box(10, 20, 40, 60), label="bell"),)
    picker.widget.bboxes = [drawn(10, 20, 30, 40, "bell"), drawn(0, 0, 5, 5, "cup")]
    assert [(each.name, each.label) for each in picker] == [("region1", "bell"), ("region2", "cup")]
    assert picker[1] is not None and picker[-1].name == "region2" and picker[:1] == picker.regions[:1]
    assert picker.widget.classes == ["cup", "bell"] and picker.widget.label == "cup"


@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        ([], []),
        ([drawn(3, 4, 0, 0)], []),  # a click
        ([drawn(3, 4, 10, 0)], []),
        ([drawn(-5, -6, 25, 26)], [[0, 0, 20, 20]]),
        ([drawn(1190, 890, 50, 50)], [[1190, 890, 1200, 900]]),
        ([drawn(1300, 10, 5, 5)], []),  # beside the image
        ([drawn(3, 4, 0, 0), drawn(0, 0, 1200, 900)], [[0, 0, 1200, 900]]),
    ],
)
def test_boxes_stay_within_the_image_and_clicks_do_not_count(boxes: list[dict[str, Any]], kept: list[list[float]]) -> None:
    picker = pick(LARGE)
    picker.widget.bboxes = boxes
    assert picker.boxes == kept


def test_a_box_without_a_label_is_a_region_without_one() -> None:
    picker = pick(LARGE)
    picker.widget.bboxes = [drawn(1, 1, 5, 5, "")]
    assert picker.regions[0].label is None


def test_coordinates_are_those_of_the_original_whatever_size_is_sent() -> None:
    photo = Image.new("RGB", (4800, 900), "grey")
    picker = pick(photo, [[3000, 300, 3300, 900]])
    assert picker.widget.bboxes == [drawn(1000, 100, 100, 200)] and picker.boxes == [[3000, 300, 3300, 900]]
    picker.widget.bboxes = [drawn(0, 0, 1600, 300), drawn(800, 100, 100, 100)]
    assert picker.boxes == [[0, 0, 4800, 900], [2400, 300, 2700, 600]]


def test_regions_that_stand_there_bring_their_labels() -> None:
    given = [Region("region7", Box(1, 2, 30, 40), label="lamp"), Region("region9", Box(0, 0, 10, 10))]
    picker = pick(LARGE, given, labels=["cup"])
    assert picker.widget.classes == ["cup", "lamp"]
    assert [(each.name, each.label, each.box) for each in picker] == [
        ("region1", "lamp", given[0].box),
        ("region2", "cup", given[1].box),
    ]


GIVEN = Region("region7", Box(1.25, 2, 30, 40.125), "lamp", 0.75, "find_regions", "lamps", "image3", "region2", MASK)
OTHER = Region("region9", Box(0, 0, 10, 10), "cup", 0.5, "segment_regions")


def test_a_region_that_nobody_touched_is_the_given_one_under_a_new_name() -> None:
    picker = pick(LARGE, [GIVEN, OTHER])
    assert list(picker) == [replace(GIVEN, name="region1"), replace(OTHER, name="region2")]
    picker.widget.bboxes = [*picker.widget.bboxes[1:], drawn(5, 6, 7, 8)]
    assert list(picker) == [replace(OTHER, name="region1"), Region("region2", Box(5, 6, 12, 14), label="thing")]
    # A click rounds the corner of a box to whole pixels.
    picker.widget.bboxes = [drawn(1, 2, 28.75, 38.125, "lamp")]
    assert list(picker) == [replace(GIVEN, name="region1")]


@given(st.data(), st.integers(1, 5000), st.integers(1, 5000))
@settings(max_examples=50, deadline=None)
def test_given_boxes_come_back_to_the_last_digit_from_images_of_any_size(data: st.DataObject, width: int, height: int) -> None:
    across, down = (
        sorted(data.draw(st.lists(st.floats(0, side), min_size=2, max_size=2).filter(lambda each: each[0] < each[1])))
        for side in (width, height)
    )
    given = Region("region1", Box(across[0], down[0], across[1], down[1]), "lamp", 0.5)
    picker = pick(Image.new("L", (width, height)), [given])
    picker.widget.bboxes = json.loads(json.dumps(picker.widget.bboxes))  # to the browser and back
    assert picker.regions == (given,)


def test_a_region_that_was_only_renamed_keeps_its_mask_and_not_what_was_said_of_the_old_label() -> None:
    picker = pick(LARGE, [GIVEN])
    picker.widget.bboxes = [{**picker.widget.bboxes[0], "label": "cup"}]
    assert picker.regions == (Region("region1", GIVEN.box, "cup", image="image3", parent="region2", mask=MASK),)


def test_a_region_that_was_moved_is_a_new_one() -> None:
    picker = pick(LARGE, [GIVEN])
    picker.widget.bboxes = [{**picker.widget.bboxes[0], "x": 2}]
    assert picker.regions == (Region("region1", Box(2, 2, 30.75, 40.125), label="lamp"),)


def test_of_two_regions_in_one_place_each_is_found_by_its_label_and_once() -> None:
    twin = replace(GIVEN, name="region8", label="cup", score=0.25)
    picker = pick(LARGE, [GIVEN, twin])
    assert list(picker) == [replace(GIVEN, name="region1"), replace(twin, name="region2")]
    cup = picker.widget.bboxes[1]
    picker.widget.bboxes = [cup]
    assert list(picker) == [replace(twin, name="region1")]
    picker.widget.bboxes = [cup, cup, cup]
    assert [(each.label, each.score) for each in picker] == [("cup", 0.25), ("cup", None), ("cup", None)]


def test_a_picker_is_taken_wherever_regions_are() -> None:
    model = LocalRegionModel.from_folder(Path(__file__).parents[2] / "model" / "nano")
    scene = Path(__file__).parents[2] / "examples" / "scene1.png"
    picker = pick(scene)
    picker.widget.bboxes = [drawn(123, 194, 180, 183), drawn(315, 145, 189, 189)]
    assert model.ask(scene, "What is <region1>?", picker).text == "a large orange umbrella"
    assert [each.text for each in model.ask_each(scene, "What colour is <region>?", picker)] == ["orange", "yellow"]
    held = Workspace()
    held.add_image(scene)
    assert [each.name for each in held.add_regions(picker)] == ["region1", "region2"]
    asked = ask_each(held, "What colour is <region>?", model=model)
    assert gallery(scene, asked)._repr_html_().count("<img") == 2


@pytest.mark.parametrize("labels", ["cup", [], [""], [1]])
def test_labels_are_texts(labels: Any) -> None:
    with pytest.raises(InvalidSetting, match="the labels are"):
        pick(LARGE, labels=labels)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "jupyter_bbox_widget":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=re.escape("missing_extra: drawing boxes needs jupyter_bbox_widget")) as raised:
        pick(LARGE)
    assert "pip install 'roi-agent[notebook]'" in str(raised.value)
    assert gallery(LARGE, [REGION])._repr_html_()  # needs no widget


def test_drawing_boxes_needs_no_torch() -> None:
    program = "import sys, roi_agent.notebook; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True).stdout == "False\n"


# A kernel


@pytest.fixture
def kernel() -> Iterator[NotebookClient]:
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=120)
    with client.setup_kernel():
        yield client


def run_cell(client: NotebookClient, source: str) -> Any:
    client.nb.cells.append(nbformat.v4.new_code_cell(source))
    return client.execute_cell(client.nb.cells[-1], len(client.nb.cells) - 1).outputs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_front_end_draws_and_the_next_cell_has_the_boxes(kernel: NotebookClient) -> None:
    scene = Path(__file__).parents[2] / "examples" / "scene1.png"
    imports = "from roi_agent.notebook import pick\nfrom roi_agent.model.images.loading import load_image"
    assert run_cell(kernel, f"{imports}\nimage = load_image({str(scene)!r})") == []
    (shown,) = run_cell(kernel, "picker = pick(image, labels=['umbrella', 'square'])\npicker")
    view = shown["data"]["application/vnd.jupyter.widget-view+json"]
    update = {"method": "update", "state": {"bboxes": [drawn(315, 145, 189, 189, "square")]}, "buffer_paths": []}
    assert kernel.kc is not None
    kernel.kc.shell_channel.send(kernel.kc.session.msg("comm_msg", {"comm_id": view["model_id"], "data": update}))
    (printed,) = run_cell(kernel, "print(picker.boxes, picker.regions[0].label)")
    assert printed["text"] == "[[315.0, 145.0, 504.0, 334.0]] square\n"
    (image,) = run_cell(kernel, "image")
    assert "512 x 512 pixels" in image["data"]["text/html"] and "data:image/jpeg;base64," in image["data"]["text/html"]


def test_a_picker_says_how_many_boxes_it_holds() -> None:
    assert repr(Picker(LARGE, [REGION], ["a"])) == "<Picker: 1 regions>"
