"""Boxes that are drawn on the page: drafts, handles, labels, and what the browser is told."""

import io
from typing import Any

import pytest
from PIL import Image

from roi_agent.ui import drawing
from roi_agent.ui.actions import Actions
from roi_agent.ui.visitors import Visitors
from roi_agent.ui.work import Work
from tests.ui.visit import NAME, SQUARE, UMBRELLA, drawn, names


def test_a_draft_may_be_moved_and_a_used_region_keeps_its_meaning(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.edit(work, drawn((125, 200, 305, 380), labels=("region1",)))
    assert names(work) == ["region1"] and work.regions[0].box.xyxy == (125, 200, 305, 380)
    work.settle()
    drawing.edit(work, drawn(SQUARE, labels=("region1",)))
    assert names(work) == ["region2"] and work.workspace.region("region1").box.xyxy == (125, 200, 305, 380)
    work.settle()
    assert names(work) == ["region2"] and work.workspace.region("region2").box.xyxy == SQUARE


def test_handles_stay_when_an_earlier_draft_is_deleted(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.edit(work, drawn(UMBRELLA, SQUARE, labels=("region1",)))
    assert names(work) == ["region1", "region2"]
    drawing.edit(work, drawn(SQUARE, labels=("region2",)))
    assert names(work) == ["region2"]
    drawing.delete(work, "region2")
    assert names(work) == [] and len(work.workspace.regions()) == 2


def test_the_last_draft_leaves_no_trace_and_what_is_drawn_again_comes_back(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.delete(work, "region1")
    assert work.workspace.regions() == ()
    drawing.edit(work, drawn(UMBRELLA))
    work.settle()
    drawing.delete(work, "region1")
    drawing.edit(work, drawn(UMBRELLA))
    assert names(work) == ["region1"]


def test_a_label_is_of_the_draft_and_later_of_a_new_region(work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    drawing.rename(work, "region1", "  my   umbrella ")
    assert [(region.name, region.label) for region in work.regions] == [("region1", "my umbrella")]
    work.settle()
    drawing.rename(work, "region1", "")
    assert [(region.name, region.label) for region in work.regions] == [("region2", None)]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((10, 10, 10, 10), None),
        ((10, 10, 10.5, 90), None),
        ((-50, -50, 40, 40), (0, 0, 40, 40)),
        ((500, 500, 900, 900), (500, 500, 512, 512)),
        ((600, 600, 700, 700), None),
        ((90, 90, 10, 10), None),
        ((0, 0, 512, 512), (0, 0, 512, 512)),
    ],
)
def test_boxes_are_cut_at_the_edge_and_clicks_are_none(work: Work, box: tuple[float, ...], kept: tuple[int, ...] | None) -> None:
    drawing.edit(work, drawn(box))
    assert [region.box.xyxy for region in work.regions] == ([] if kept is None else [kept])


@pytest.mark.parametrize(
    "items",
    [None, "boxes", [{}] * 201, [{"xmin": 1}], [{"xmin": "a", "ymin": 0, "xmax": 1, "ymax": 1}], drawn((0, 0, float("nan"), 9))],
)
def test_news_that_cannot_be_change_nothing(actions: Actions, work: Work, items: Any) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    seen = actions.apply(NAME, {"kind": "draw", "work": work.key, "page": "p", "number": 3, "boxes": items})
    assert seen.status is not None and "invalid_setting" in seen.status
    assert names(work) == ["region1"] and drawing.marks(work)["acknowledged"] == {
        "p": 3
    }  # so that the browser takes the boxes back


def test_messages_to_the_browser_name_the_drawing_that_they_refer_to(actions: Actions, work: Work) -> None:
    first = drawing.marks(work)
    for number in range(1, 12):
        news = {"kind": "draw", "work": work.key, "page": f"page{number}", "number": number, "boxes": drawn(UMBRELLA)}
        actions.apply(NAME, news)
    told = drawing.marks(work)
    assert told["version"] > first["version"] and first["acknowledged"] == {} and len(told["boxes"]) == 1
    assert told["acknowledged"] == {f"page{number}": number for number in range(4, 12)}  # of many pages the latest


@pytest.mark.parametrize("news", [None, [], {"kind": "draw", "boxes": []}, {"kind": "draw", "work": "old", "boxes": []}])
def test_late_news_of_an_earlier_image_is_let_go(actions: Actions, work: Work, news: Any) -> None:
    drawing.edit(work, drawn(UMBRELLA))
    assert actions.apply(NAME, news).status is None and names(work) == ["region1"]


def test_a_large_image_is_shown_smaller_and_its_boxes_are_in_its_own_pixels(actions: Actions, visitors: Visitors) -> None:
    Image.new("RGB", (2560, 1000), "grey").save(file := io.BytesIO(), "PNG")
    work = actions.open_file(NAME, visitors.send(NAME, file.getvalue())).work
    assert work is not None and drawing.picture(work).size == (1280, 500)
    drawing.edit(work, drawn((100, 100, 200, 300)))
    assert work.regions[0].box.xyxy == (200, 200, 400, 600)
    (box,) = drawing.boxes(work)
    assert [box[side] for side in ("xmin", "ymin", "xmax", "ymax")] == [100, 100, 200, 300]
    drawing.edit(work, [box | {"xmin": 100.4}])  # the browser's own rounding
    assert work.regions[0].box.xyxy == (200, 200, 400, 600)


def test_lighting_dims_the_others_and_brings_back_what_was_hidden(actions: Actions, work: Work) -> None:
    drawing.edit(work, drawn(UMBRELLA, SQUARE))
    highlight = {"kind": "highlight", "work": work.key, "name": "region2"}
    actions.apply(NAME, highlight)
    colours = {box["label"]: box["color"] for box in drawing.marks(work)["boxes"]}
    assert set(colours) == {"region1", "\u25b6 region2"} and colours["region1"] == "rgb(148, 163, 184)"
    actions.apply(NAME, highlight)
    assert work.highlighted is None
    work.settle()
    drawing.delete(work, "region2")
    actions.apply(NAME, highlight)
    assert names(work) == ["region1", "region2"] and work.highlighted == "region2"
    assert actions.apply(NAME, highlight | {"name": "region9"}).status is None and work.highlighted is None
