"""Files that GPT4RoI's authors name for training: Flickr30k merged, Visual Genome with captions, detections as a pickle."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.annotations import picture, read
from tests.data import test_reader_flickr30k as flickr30k
from tests.data import test_reader_llava as llava
from tests.public_data import Json, answers, kinds, read_all, reader, write_json
from tests.public_data import picture as small_picture


@pytest.mark.parametrize("folder", ["", "mdetr_annotations/", "OpenSource/"])
def test_flickr30k_of_mdetr_is_read_in_its_merged_form_too(tmp_path: Path, folder: str) -> None:
    small_picture(tmp_path / "images" / f"{flickr30k.ID}.jpg")
    write_json(tmp_path / f"{folder}final_flickr_mergedGT_train.json", flickr30k.mdetr())
    records, troubles = read_all(reader("flickr30k", tmp_path))
    assert not troubles
    flickr30k.check(records)


def captioned() -> Json:
    boxes = [([10, 5, 20, 30], "the clock"), ([40, 10, 15, 20], "shade")]
    return {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 60, "height": 40}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": bbox, "caption": text, "iscrowd": 0, "area": 1}
            for n, (bbox, text) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "object"}],
    }


@pytest.mark.parametrize("file", ["train.json", "visual_genome/train.json"])
@pytest.mark.parametrize("name", ["1.jpg", "VG_100K/1.jpg"])
def test_visual_genome_with_captions_in_cocos_layout_is_read(tmp_path: Path, file: str, name: str) -> None:
    small_picture(tmp_path / "images" / "VG_100K" / "1.jpg")
    values = captioned()
    values["images"][0]["file_name"] = name
    write_json(tmp_path / file, values)
    (record,), troubles = read_all(reader("visual-genome", tmp_path, "train"))
    assert answers(record) == {(10, 5, 30, 35): {"the clock"}, (40, 10, 55, 30): {"shade"}} and not troubles
    assert (record.id, record.image) == ("visual-genome/train/1", "VG_100K/1.jpg")


def test_visual_genome_in_cocos_layout_lists_what_it_cannot_use(tmp_path: Path) -> None:
    small_picture(tmp_path / "images" / "1.jpg")
    values = captioned()
    values["annotations"] += [
        {"id": 7, "image_id": 1, "bbox": [50, 5, 30, 9], "caption": "outside"},
        {"id": 8, "image_id": 1, "bbox": [5, 5, 3, 9]},
        {"id": 9, "image_id": 5, "bbox": [5, 5, 3, 9], "caption": "elsewhere"},
    ]
    write_json(tmp_path / "train.json", values)
    (record,), troubles = read_all(reader("visual-genome", tmp_path, "train"))
    assert len(record.regions) == 2 and sorted(kinds(troubles)) == ["box_outside", "missing_image", "no_text"]
    with pytest.raises(DataNotFound, match=r"region_descriptions\.json"):
        reader("visual-genome", tmp_path, "all")
    for text in ("[]", '{"images": []}', '{"images": [1]'):
        (tmp_path / "train.json").write_text(text, encoding="utf-8")
        with pytest.raises(RecordInvalid, match=r"train\.json"):
            reader("visual-genome", tmp_path, "train")


FILE, OTHER = "000000000001.jpg", "000000000002.jpg"
BUS, CLOCK, ZEBRA = (10.0, 10.0, 60.0, 70.0), (70.0, 10.0, 90.0, 30.0), (5.0, 5.0, 50.0, 50.0)
DETECTED: dict[str, Any] = {
    "a list for each file": {
        FILE: [{"box": list(BUS), "label": "bus", "score": 0.9}, {"box": list(CLOCK), "label": "clock", "score": 0.9}]
    },
    "other names": {
        FILE: [{"bbox": BUS, "class_name": "bus", "confidence": 0.9}, {"bbox": CLOCK, "category": "clock", "score": 0.9}]
    },
    "columns": {FILE: {"boxes": [BUS, CLOCK], "labels": ["bus", "clock"], "scores": [0.9, 0.9]}},
    "other columns": {FILE: {"pred_boxes": [BUS, CLOCK], "pred_classes": ["bus", "clock"], "pred_scores": [0.9, 0.9]}},
    "by path": {f"data/train2017/{FILE}": {"bboxes": [BUS, CLOCK], "class_names": ["bus", "clock"], "scores": [0.9, 0.9]}},
    "by number": {1: {"boxes": [BUS, CLOCK], "labels": ["bus", "clock"], "scores": [0.9, 0.9]}},
    "by number as a text": {"1": {"boxes": [BUS, CLOCK], "labels": ["bus", "clock"], "scores": [0.9, 0.9]}},
    "a list of images": [{"image": FILE, "boxes": [BUS, CLOCK], "labels": ["bus", "clock"], "scores": [0.9, 0.9]}],
    "a list of images by number": [{"image_id": 1, "boxes": [BUS, CLOCK], "classes": ["bus", "clock"], "scores": [0.9, 0.9]}],
    "a list of detections": [
        {"image_id": 1, "bbox": [10, 10, 50, 60], "category_name": "bus", "score": 0.9},
        {"image_id": 1, "bbox": [70, 10, 20, 20], "category_name": "clock", "score": 0.9},
    ],
    "parts of the image": {
        FILE: [
            {"box": [0.1, 0.125, 0.6, 0.875], "label": "bus", "score": 0.9},
            {"box": [0.7, 0.125, 0.9, 0.375], "label": "clock", "score": 0.9},
        ]
    },
    "numbered classes with their names": {
        "classes": ["bus", "clock"],
        "results": {FILE: {"boxes": [BUS, CLOCK], "labels": [0, 1], "scores": [0.9, 0.9]}},
    },
}


def write(folder: Path, detected: object, *, protocol: int = 4) -> Path:
    picture(folder / "coco/train2017" / FILE)
    write_json(folder / "llava_instruct_150k.json", [llava.SAMPLE] * 40)
    (folder / "llava_150k_bbox_pred_results.pkl").write_bytes(pickle.dumps(detected, protocol=protocol))
    return folder / "coco"


@pytest.mark.parametrize("detected", DETECTED.values(), ids=DETECTED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_detections_in_a_pickle_are_read_in_the_forms_that_detectors_write(tmp_path: Path, detected: Any, protocol: int) -> None:
    records, troubles = read("llava-instruct", tmp_path, write(tmp_path, detected, protocol=protocol))
    boxed = next(record for record in records if record.regions)
    found = sorted((region.label or "", region.box.xyxy, region.score) for region in boxed.regions)
    assert [(label, score) for label, _, score in found] == [("bus", 0.9), ("clock", 0.9)]
    assert np.allclose([box for _, box, _ in found], [BUS, CLOCK])
    assert not troubles


UNKNOWN = {
    "a text": ("boxes", "a str"),
    "numbered classes without names": ({FILE: {"boxes": [BUS], "labels": [3], "scores": [0.9]}}, "classes are numbers"),
    "no scores": ({FILE: {"boxes": [BUS], "labels": ["bus"]}}, "boxes, labels"),
    "other keys": ({FILE: {"instances": 7}}, "instances"),
    "different lengths": ({FILE: {"boxes": [BUS], "labels": ["a", "b"], "scores": [0.9]}}, "1 boxes, 2 labels and 1 scores"),
    "no images": ([{"boxes": [BUS], "labels": ["bus"], "scores": [0.9]}], "boxes, labels, scores"),
    "arrays": ({FILE: {"boxes": np.array([BUS]), "labels": ["bus"], "scores": [0.9]}}, "could run code"),
    "corners and sizes": ({FILE: {"boxes": [[70, 10, 20, 20]], "labels": ["bus"], "scores": [0.9]}}, "not two corners"),
    "nothing": ({}, "no detections"),
}


@pytest.mark.parametrize(("detected", "words"), UNKNOWN.values(), ids=UNKNOWN)
def test_detections_in_another_form_are_refused_with_what_was_found(tmp_path: Path, detected: Any, words: str) -> None:
    with pytest.raises(RecordInvalid) as caught:
        read("llava-instruct", tmp_path, write(tmp_path, detected))
    assert words in str(caught.value)


def test_the_json_of_detections_comes_first_and_one_of_the_two_is_needed(tmp_path: Path) -> None:
    images = write(tmp_path, "boxes")
    write_json(tmp_path / "detections.json", {FILE: [{"box": list(BUS), "label": "bus", "score": 0.9}]})
    assert read("llava-instruct", tmp_path, images)[0]
    for name in ("detections.json", "llava_150k_bbox_pred_results.pkl"):
        (tmp_path / name).unlink()
    with pytest.raises(DataNotFound, match=r"detections\.json or llava_150k_bbox_pred_results\.pkl"):
        read("llava-instruct", tmp_path, images)
