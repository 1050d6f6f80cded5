"""Regions to and from COCO JSON, supervision's Detections and plain arrays."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from roi_agent import Region, Workspace
from roi_agent.model.errors import BoxFormatUnknown, BoxOutOfBounds, InvalidSetting, MaskInvalid, RoiAgentError, UserError
from roi_agent.model.geometry.boxes import FORMATS, UNITS, Box
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.tools.exchange import add_coco, from_supervision, to_array, to_coco, to_supervision
from tests.tools.test_workspace import DISC, PICTURE, filled

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that OpenCV is missing, which nothing here needs
    import supervision as sv


# Arrays


@given(st.sampled_from(FORMATS), st.sampled_from(UNITS), st.tuples(*[st.floats(0, 0.49), st.floats(0.5, 1)] * 2))
def test_arrays_read_back_as_the_same_boxes(format: str, unit: str, sides: tuple[float, float, float, float]) -> None:
    box = Box(sides[0] * 80, sides[2] * 60, sides[1] * 80, sides[3] * 60)
    array = to_array([Region("region1", box)], format=format, unit=unit, size_wh=(80, 60))
    (back,) = parse_regions(array, size_wh=(80, 60), format=format, unit=unit)
    assert back.box.xyxy == pytest.approx(box.xyxy, abs=1e-9)


def test_no_regions_are_an_empty_array() -> None:
    assert to_array([]).shape == (0, 4)


def test_unknown_formats_and_a_missing_size_are_refused() -> None:
    with pytest.raises(BoxFormatUnknown):
        to_array([], format="yxyx")
    with pytest.raises(InvalidSetting, match="size_wh"):
        to_array([], unit="normalised")


# supervision


def test_masks_of_images_of_several_sizes_do_not_go_out_together() -> None:
    workspace = Workspace()
    for side in (20, 30):
        image = workspace.add_image(np.zeros((side, side, 3), np.uint8))
        workspace.add_regions([{"mask": np.ones((side, side), bool)}], image=image)
    with pytest.raises(InvalidSetting, match="images of several sizes; export the regions of one image at a time"):
        to_supervision(workspace.regions())


def test_detections_go_out_and_come_back() -> None:
    workspace = filled()
    detections = to_supervision(workspace.regions())
    assert isinstance(detections, sv.Detections)
    assert detections.xyxy.tolist() == [list(region.box.xyxy) for region in workspace.regions()]
    assert list(detections.data["class_name"]) == ["red star", ""]
    assert detections.mask is None  # not every region has one
    other = Workspace()
    other.add_image(PICTURE)
    assert [region.box for region in other.add_regions(from_supervision(detections))] == [r.box for r in workspace.regions()]
    assert other.region("region1").label == "red star"
    assert other.region("region1").score == pytest.approx(0.9)


def test_masks_of_detections_are_kept() -> None:
    (disc,) = filled().regions()[1:]
    detections = to_supervision([disc])
    assert detections.mask is not None and np.array_equal(detections.mask[0], DISC)
    other = Workspace()
    other.add_image(PICTURE)
    assert other.add_regions(from_supervision(detections))[0].mask == disc.mask
    assert len(to_supervision([])) == 0 and from_supervision(sv.Detections.empty()) == []


# COCO


def test_coco_goes_out_as_pycocotools_reads_it_and_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = filled()
    workspace.save(tmp_path / "w")
    document = to_coco(workspace)
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(document))
    theirs = COCO(str(file))
    assert np.array_equal(theirs.annToMask(theirs.anns[2]).astype(bool), DISC)
    assert theirs.anns[1]["bbox"] == [10, 20, 20, 20]
    assert theirs.cats[theirs.anns[1]["category_id"]]["name"] == "red star"
    other = Workspace()
    back = add_coco(other, file, tmp_path / "w" / "images")
    assert [(r.box, r.mask, r.label, r.score, r.source, r.prompt) for r in back] == [
        (r.box, r.mask, r.label, r.score, r.source, r.prompt) for r in workspace.regions()
    ]


def test_regions_without_masks_have_what_pycocotools_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = filled()
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(to_coco(workspace)))
    theirs = COCO(str(file))
    boxed, masked = theirs.anns[1], theirs.anns[2]
    assert boxed["segmentation"] == [] and boxed["area"] == 400 and boxed["iscrowd"] == 0
    assert theirs.getAnnIds(areaRng=[300, 500], iscrowd=False) == [1]
    assert theirs.getCatIds(supNms=["thing"]) == theirs.getCatIds()
    theirs.info()
    theirs.showAnns([boxed, masked])
    pyplot.close("all")
    with pytest.raises(IndexError):  # it knows no form of "there is no mask" here; ours is the one that readers take for it
        theirs.annToMask(boxed)
    results = theirs.loadRes(
        [{key: each[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0} for each in (boxed, masked)]
    )
    judge = COCOeval(theirs, results, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1)


IMAGES: list[dict[str, Any]] = [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}]


def document(**annotation: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}],
        "categories": [{"id": 3, "name": "star"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}, {"id": 2, "image_id": 7, **annotation}],
    }


def test_polygons_become_masks_within_a_pixel_of_pycocotools() -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    polygon = np.stack([40 + 25.3 * np.cos(angles), 30 + 21.7 * np.sin(angles)], 1).ravel().tolist()
    workspace = Workspace()
    region = add_coco(workspace, document(segmentation=[polygon], bbox=[10, 5, 60, 50]), {"a.png": PICTURE})[1]
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 60, 80))).astype(bool)
    assert region.mask is not None
    ours = region.mask.to_array()
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95
    assert region.box.xywh == (10, 5, 60, 50) and region.source == "coco"


@pytest.mark.parametrize("counts", [[0, 10, 4790], "0:"])
def test_run_lengths_are_read_compressed_or_not(counts: Any) -> None:
    rle = {
        "size": [60, 80],
        "counts": counts if isinstance(counts, list) else coco_mask.encode(np.asfortranarray(DISC, np.uint8))["counts"].decode(),
    }
    region = add_coco(Workspace(), document(segmentation=rle), {"a.png": PICTURE})[1]
    assert region.mask is not None and region.label is None
    assert region.mask.area == (10 if isinstance(counts, list) else DISC.sum())


def test_one_wrong_mask_is_left_out_and_reported_and_its_box_stays() -> None:
    dirty = [[[1, 2, 3]], "abc", [[1, 2, float("nan"), 4, 5, 6]], {"size": [6, 8], "counts": [48]}, [[70, 50, 79, 50, 79, 59]]]
    good = [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0]]
    coco = document(bbox=[1, 2, 3, 4], segmentation=good)
    coco["annotations"] += [
        {"id": 10 + n, "image_id": 7, "bbox": [1, 2, 30, 40], "segmentation": each} for n, each in enumerate(dirty)
    ]
    added = add_coco(Workspace(), coco, {"a.png": PICTURE})
    assert len(added) == 7 and [region.mask is not None for region in added[1:]] == [True] + [False] * 5
    assert len(added.notes) == 5
    assert all(note.startswith(f"annotation {10 + n}: its mask was left out: ") for n, note in enumerate(added.notes))
    assert add_coco(Workspace(), document(bbox=[1, 2, 3, 4]), {"a.png": PICTURE}).notes == ()


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": "80", "height": "60"}, {"width": 80.0}])
def test_a_size_that_the_document_does_not_state_is_that_of_the_picture(size: dict[str, Any]) -> None:
    coco = document(bbox=[1, 2, 3, 4]) | {"images": [{"id": 7, "file_name": "a.png"} | size]}
    assert len(add_coco(Workspace(), coco, {"a.png": PICTURE})) == 2


def test_ids_in_another_form_are_the_same_ids_and_an_unknown_category_is_reported() -> None:
    coco = document(bbox=[1, 2, 3, 4], image_id="7", category_id=3.0)
    assert [region.label for region in add_coco(Workspace(), coco, {"a.png": PICTURE})] == ["star", "star"]
    added = add_coco(Workspace(), document(bbox=[1, 2, 9, 9], category_id=99), {"a.png": PICTURE})
    assert added[1].label is None
    assert added.notes == ("annotation 2: its category 99 is not in the document, so it has no label",)


def test_names_of_images_do_not_lead_out_of_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(PICTURE).save(tmp_path / "outside.png")
    Image.fromarray(PICTURE).save(folder / "deep" / "my photo.png")
    for name in (
        str(tmp_path / "outside.png"),
        "../outside.png",
        "deep/../../outside.png",
        "%2e%2e/outside.png",
        "..\\outside.png",
    ):
        with pytest.raises(UserError, match=r"not below the folder|there is no image"):
            add_coco(Workspace(), document() | {"images": [{"id": 7, "file_name": name}]}, folder)
    for name in ("deep/my photo.png", "deep\\my photo.png", "C:\\x\\my photo.png", "my%20photo.png"):
        coco = document(bbox=[1, 2, 3, 4]) | {"images": [{"id": 7, "file_name": name}]}
        assert len(add_coco(Workspace(), coco, folder)) == 2
        assert len(add_coco(Workspace(), coco, {"my photo.png": PICTURE})) == 2


def test_a_box_a_little_over_the_edge_is_cut_there() -> None:
    region = add_coco(Workspace(), document(bbox=[-0.4, 3, 80.9, 57.3]), {"a.png": PICTURE})[1]
    assert region.box.xyxy == (0, 3, 80, 60)


@pytest.mark.parametrize(
    "given_document,error,said",
    [
        (document(image_id=7.5), InvalidSetting, "annotation 2 belongs to an image that is not listed"),
        (document() | {"images": [*IMAGES, {"id": 7, "file_name": "b.png"}]}, InvalidSetting, "two images have the id 7"),
        (
            document() | {"categories": [{"id": 3, "name": "a"}, {"id": "3", "name": "b"}]},
            InvalidSetting,
            "two categories have .* 3",
        ),
        (document() | {"images": [{"id": [7], "file_name": "a.png"}]}, InvalidSetting, r"the image id \[7\] is invalid"),
        (
            document() | {"images": [{"id": 7, "file_name": "a.png", "width": "wide"}]},
            InvalidSetting,
            "'a.png' .* the width 'wide'",
        ),
        (document(bbox=[0.1, 0.2, 0.4, 0.5]), InvalidSetting, "annotation 2: .*fractions"),
        (document(bbox=[0, 0, 90, 5]), BoxOutOfBounds, "annotation 2"),
        (document(bbox=[0, 0, float("nan"), 5]), RoiAgentError, "annotation 2"),
        (document(bbox="abcd"), RoiAgentError, "annotation 2"),
        (document(segmentation=[[1, 2, 3]]), InvalidSetting, "annotation 2.*three points"),
        (document(segmentation=[[-9, -9, -5, -9, -5, -5]]), MaskInvalid, "annotation 2: a mask is empty"),
        (document(segmentation={"size": [60, 80], "counts": [1]}), MaskInvalid, "annotation 2"),
        (document(segmentation=7), InvalidSetting, "annotation 2: a segmentation is 7"),
        (document(), InvalidSetting, "annotation 2: .*neither a box nor a mask"),
        (document(segmentation=[]), InvalidSetting, "annotation 2: .*neither a box nor a mask"),
        (document(bbox=[0, 0, 5, 5], score="0.5"), InvalidSetting, "annotation 2: its score is '0.5'"),
        (document(bbox=[0, 0, 5, 5], score=float("nan")), InvalidSetting, "annotation 2: its score is nan"),
        (document(bbox=[0, 0, 5, 5], image_id=99), InvalidSetting, "annotation 2 belongs to an image that is not listed"),
        ({"images": []}, InvalidSetting, "not a COCO instances document"),
        ([], InvalidSetting, "not a COCO instances document"),
        ({"images": [{}], "annotations": []}, InvalidSetting, "no id or no name"),
        ("nowhere.json", InvalidSetting, "not a readable JSON file"),
        ({"images": [{"id": 1, "file_name": "b.png"}], "annotations": []}, InvalidSetting, "not among those given"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}], "annotations": []}, InvalidSetting, "size"),
    ],
)
def test_a_wrong_document_leaves_the_workspace_as_it_was(given_document: Any, error: type[Exception], said: str) -> None:
    workspace = Workspace()
    with pytest.raises(error, match=said):
        add_coco(workspace, given_document, {"a.png": PICTURE})
    assert workspace.images == () and workspace.regions() == ()
