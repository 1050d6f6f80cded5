"""The shipped nano SAM: it loads without a network, outlines what is pointed at, and says so where it knows nothing."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from PIL import Image
from transformers import SamModel, SamProcessor

from roi_agent import Workspace, load_segmenter
from roi_agent.evaluation.toy import run_segmentation, segmentation_markdown
from roi_agent.loading import SHIPPED
from roi_agent.model.segmentation.segmenter import TransformersSegmenter
from roi_agent.model.toy.evaluate.segmentation import BOX, EVERYTHING, GOALS, POINT, SegmentationScore
from roi_agent.model.toy.world.scenes import make_scene, render
from roi_agent.tools.measure import relate
from roi_agent.tools.segment import segment, segment_everything

FOLDER = SHIPPED["segment"]["nano"]
SCENE = render(make_scene(5), 384)


@pytest.fixture(scope="module")
def segmenter() -> TransformersSegmenter:
    loaded = load_segmenter("nano")
    assert isinstance(loaded, TransformersSegmenter)
    return loaded


def published() -> list[SegmentationScore]:
    return [SegmentationScore(**row) for row in json.loads((FOLDER / "scores.json").read_text())]


def workspace() -> Workspace:
    filled = Workspace()
    filled.add_image(SCENE.image)
    return filled


def test_it_is_an_unmodified_sam_of_a_few_megabytes() -> None:
    loaded: Any = SamModel.from_pretrained(FOLDER, local_files_only=True, output_loading_info=True)
    model, report = loaded
    assert not any(report.values()) and type(model) is SamModel
    assert isinstance(SamProcessor.from_pretrained(FOLDER, local_files_only=True), SamProcessor)
    assert (FOLDER / "model.safetensors").stat().st_size < 16_000_000


def test_it_meets_its_goals_on_scenes_it_never_saw(segmenter: TransformersSegmenter) -> None:
    said = {row.name: row for row in published()}
    rows = {row.name: row for row in run_segmentation(segmenter, scenes=20, first_seed=700_000, show_progress=False)}
    for name, goal in GOALS.items():
        assert rows[name].iou >= max(goal, said[name].iou - 0.05), name
        assert (rows[name].shuffled or 0) < 0.1, "another thing's prompt gives another thing's mask"
    assert rows[EVERYTHING].iou >= said[EVERYTHING].iou - 0.25


def test_the_published_figures_meet_every_goal_on_enough_things() -> None:
    rows = {row.name: row for row in published()}
    assert set(GOALS) <= set(rows) and all(row.reached for row in rows.values())
    assert rows[BOX].things >= 500 and rows[POINT].things >= 500
    assert rows[BOX].iou > (rows[BOX].filled_box or 0) + 0.2


@pytest.mark.parametrize("document", [FOLDER / "README.md", Path(__file__).parents[2] / "docs" / "measured.md"])
def test_documents_show_the_measured_table(document: Path) -> None:
    assert segmentation_markdown(published()) in document.read_text()


def test_a_point_a_box_and_a_rough_mask_give_the_same_thing(segmenter: TransformersSegmenter) -> None:
    filled, thing = workspace(), SCENE.masks[0]
    ys, xs = thing.nonzero()
    middle = len(xs) // 2
    (by_point,) = segment(filled, segmenter=segmenter, points=[(float(xs[middle]), float(ys[middle]))]).regions
    (by_box,) = segment(filled, segmenter=segmenter, boxes=[SCENE.boxes[0]]).regions
    (by_mask,) = segment(filled, segmenter=segmenter, boxes=[SCENE.boxes[0]], mask=thing).regions
    assert relate(by_point, by_box).iou > 0.8 and relate(by_box, by_mask).iou > 0.8
    assert by_box.score is not None and by_box.score > 0.7


def test_everything_holds_the_things(segmenter: TransformersSegmenter) -> None:
    found = segment_everything(workspace(), segmenter=segmenter)
    assert len(SCENE.masks) - 2 <= len(found.regions) <= 3 * len(SCENE.masks)


def test_a_photo_is_noticed(segmenter: TransformersSegmenter) -> None:
    filled = Workspace()
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as photo:
        filled.add_image(photo)
    found = segment(filled, segmenter=segmenter, points=[(100, 100)])
    assert any("outside what the model was trained on: nano knows only the rendered scenes" in note for note in found.notes)
    assert segment(workspace(), segmenter=segmenter, points=[(100, 100)]).notes == ()
