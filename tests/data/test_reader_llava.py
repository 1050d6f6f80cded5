"""LLaVA-Instruct-150k with detections: which boxes are shown, to which samples, and the questions against hallucination."""

from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.data.readers import READERS
from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.annotations import changed, kinds, picture, read, write_json

SAMPLE: dict[str, Any] = {
    "id": "000000000001",
    "image": "000000000001.jpg",
    "conversations": [
        {"from": "human", "value": "What stands there?\n<image>"},
        {"from": "gpt", "value": "A bus:\n- red\n- large"},
        {"from": "human", "value": "Is it moving?"},
        {"from": "gpt", "value": "No."},
    ],
}
BUS: dict[str, Any] = {"box": [10, 10, 60, 70], "label": "school_bus", "score": 0.9}
CLOCK: dict[str, Any] = {"box": [70, 10, 90, 30], "label": "clock", "score": 0.95}


def write(folder: Path, samples: object, found: object = (BUS, CLOCK)) -> Path:
    picture(folder / "coco/train2017/000000000001.jpg")
    write_json(folder / "llava_instruct_150k.json", samples)
    other = {"000000000002.jpg": [BUS | {"label": "zebra"}, BUS | {"label": "awning", "score": 0.1}]}
    write_json(folder / "detections.json", {"000000000001.jpg": found} | other)
    return folder / "coco"


def test_half_of_the_samples_begin_with_the_boxes_that_were_found(tmp_path: Path) -> None:
    images = write(tmp_path, [SAMPLE] * 200)
    records, troubles = read("llava-instruct", tmp_path, images)
    boxed = [record for record in records if record.regions]
    assert 70 < len(boxed) < 130 and len(records) == 200 and not troubles
    assert boxed[0].image == "train2017/000000000001.jpg"
    assert [(region.name, region.label, region.score) for region in boxed[0].regions] == [
        ("region1", "clock", 0.95),
        ("region2", "school bus", 0.9),
    ]
    for record in records:
        question = record.turns[0].question
        assert question.endswith("What stands there?") and "<image>" not in question
        assert ("clock at <region1> and school bus at <region2>" in question) == bool(record.regions)
        assert record.turns[0].answer == "A bus:\n- red\n- large"
        assert record.turns[1].question == "Is it moving?"


def test_every_sample_ends_with_a_question_against_hallucination(tmp_path: Path) -> None:
    images = write(tmp_path, [SAMPLE] * 200, [BUS, CLOCK, BUS | {"label": "awning", "score": 0.2}])
    records, _ = read("llava-instruct", tmp_path, images)
    asked: dict[str, set[str]] = {"yes": set(), "no": set()}
    for record in records:
        last = record.turns[2]
        assert last.options == ("yes", "no")
        asked[last.answer].add(next(word for word in ("school bus", "clock", "zebra", "awning") if word in last.question))
    assert asked == {"yes": {"school bus", "clock"}, "no": {"zebra"}}  # what is seen unsurely is asked for neither way
    assert 70 < sum(record.turns[2].answer == "yes" for record in records) < 130


@pytest.mark.parametrize(
    ("detection", "shown"),
    [
        (BUS, True),
        (BUS | {"score": 0.31}, True),
        (BUS | {"score": 0.3}, False),
        (BUS | {"box": [10, 10, 12, 70]}, False),
        (BUS | {"box": [10, 10, 60, 11.6]}, False),
        (BUS | {"box": [10, 10, 12.1, 11.7]}, True),
    ],
)
def test_unsure_and_tiny_boxes_are_not_shown(tmp_path: Path, detection: dict[str, Any], shown: bool) -> None:
    images = write(tmp_path, [SAMPLE] * 20, [detection])
    records, troubles = read("llava-instruct", tmp_path, images)
    assert any(record.regions for record in records) == shown
    assert not troubles


def test_at_most_a_hundred_boxes_are_shown_the_surest(tmp_path: Path) -> None:
    found = [BUS | {"score": 0.4 + number / 1000} for number in range(150)]
    images = write(tmp_path, [SAMPLE] * 10, found)
    records, _ = read("llava-instruct", tmp_path, images)
    scores = [[region.score for region in record.regions] for record in records if record.regions]
    assert scores and all(each == sorted((one["score"] for one in found), reverse=True)[:100] for each in scores)


@pytest.mark.parametrize(
    ("detection", "kind"),
    [
        (BUS | {"box": [10, 10, 160, 70]}, "box_outside"),
        (BUS | {"box": [10, 10, 10, 70]}, "box_empty"),
        (BUS | {"box": "big"}, "malformed"),
        (BUS | {"label": " "}, "no_text"),
        (BUS | {"label": 4}, "no_text"),
        (BUS | {"score": "high"}, "malformed"),
        (BUS | {"score": 1.5}, "malformed"),
        ("bus", "no_text"),
        (BUS | {"box": [10, 10, 60, 80.5]}, "box_clipped"),
    ],
)
def test_a_bad_detection_is_listed_and_the_conversation_stays(tmp_path: Path, detection: object, kind: str) -> None:
    images = write(tmp_path, [SAMPLE], [CLOCK, detection])
    records, troubles = read("llava-instruct", tmp_path, images)
    assert len(records) == 1 and kinds(troubles) == {kind: 1}
    assert troubles[0].where == "detections.json, 000000000001.jpg[1]"


@pytest.mark.parametrize("found", [None, "none"])
def test_an_image_without_detections_is_counted(tmp_path: Path, found: object) -> None:
    images = write(tmp_path, [SAMPLE] * 10, found)
    records, troubles = read("llava-instruct", tmp_path, images)
    assert kinds(troubles) == {"no_detections": 10}
    assert all(len(record.turns) == 2 and not record.regions for record in records)


SAID = SAMPLE["conversations"]


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ({"conversations": []}, "malformed"),
        ({"conversations": SAID[:3]}, "malformed"),
        ({"conversations": SAID[::-1]}, "malformed"),
        ({"conversations": "text"}, "malformed"),
        ({"conversations": [SAID[0], {"from": "gpt"}]}, "no_text"),
        ({"conversations": [{"from": "human", "value": "<image>\n"}, SAID[1]]}, "no_text"),
        ({"conversations": [{"from": "human", "value": "Is <region7> red?"}, SAID[1]]}, "malformed"),
        ({"image": "gone.jpg"}, "missing_image"),
        ({"image": None}, "malformed"),
        ({"id": None}, "malformed"),
    ],
)
def test_a_bad_sample_is_left_out_and_listed(tmp_path: Path, others: dict[str, Any], kind: str) -> None:
    images = write(tmp_path, [SAMPLE, changed(SAMPLE | others)])
    records, troubles = read("llava-instruct", tmp_path, images)
    assert len(records) == 1
    assert [(each.kind, "[1]" in each.where) for each in troubles] == [(kind, True)]


def test_missing_and_wrong_files_are_refused(tmp_path: Path) -> None:
    images = write(tmp_path, [SAMPLE])
    (tmp_path / "detections.json").unlink()
    with pytest.raises(DataNotFound, match=r"detections\.json"):
        READERS["llava-instruct"](tmp_path, images=images, split="train")
    (tmp_path / "detections.json").write_text("[]")
    with pytest.raises(RecordInvalid, match=r"detections\.json"):
        READERS["llava-instruct"](tmp_path, images=images, split="train")
    (tmp_path / "llava_instruct_150k.json").write_text('[\n{"id": 1,')
    with pytest.raises(RecordInvalid, match="line 2, column 10"):
        READERS["llava-instruct"](tmp_path, images=images, split="train")
