"""Visual7W as it is distributed: answers told and answers pointed at."""

from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.data.readers import READERS
from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.annotations import kinds, picture, read, write_json

TOLD: dict[str, Any] = {
    "qa_id": 29,
    "question": "What endangers  the bike?",
    "answer": "Sign.",
    "multiple_choices": ["Traffic light.", "Deer.", "Cows."],
    "type": "what",
    "image_id": 1,
}
POINTED: dict[str, Any] = {
    "qa_id": 7,
    "question": "Which step leads to the tub?",
    "answer": 11,
    "multiple_choices": [12, 13, 14],
    "type": "which",
    "image_id": 1,
}
BOXES: list[dict[str, Any]] = [
    {"box_id": 11, "name": "step", "x": -1, "y": 10, "width": 30, "height": 20},
    {"box_id": 12, "name": "tub", "x": 40, "y": 10, "width": 30, "height": 20},
    {"box_id": 13, "name": "cup", "x": 40, "y": 40, "width": 30, "height": 20},
    {"box_id": 14, "name": " ", "x": 10, "y": 40, "width": 20, "height": 20},
]


def write(folder: Path, kind: str, pairs: object, boxes: object = BOXES, filename: str = "v7w_1.jpg") -> Path:
    picture(folder / "images/v7w_1.jpg")
    image = {"image_id": 1, "filename": filename, "split": "train", "qa_pairs": pairs}
    data = {"dataset": f"visual7w-{kind}", "images": [image, image | {"split": "val", "qa_pairs": []}]}
    write_json(folder / f"dataset_v7w_{kind}.json", data | ({"boxes": boxes} if kind == "pointing" else {}))
    return folder / "images"


def test_telling_asks_about_the_whole_image_with_four_options(tmp_path: Path) -> None:
    images = write(tmp_path, "telling", [TOLD])
    (record,), troubles = read("visual7w-telling", tmp_path, images)
    (turn,) = record.turns
    assert (record.id, record.image, record.size_wh, record.regions) == ("visual7w-telling/train/0/0", "v7w_1.jpg", (100, 80), ())
    assert (turn.question, turn.answer) == ("What endangers the bike?", "Sign.")
    assert sorted(turn.options) == ["Cows.", "Deer.", "Sign.", "Traffic light."]
    assert not troubles


def test_pointing_asks_for_one_of_four_regions_by_name(tmp_path: Path) -> None:
    images = write(tmp_path, "pointing", [POINTED])
    (record,), troubles = read("visual7w-pointing", tmp_path, images)
    (turn,) = record.turns
    assert turn.options == ("region1", "region2", "region3", "region4")
    assert all(f"<{name}>" in turn.question for name in turn.options) and POINTED["question"] in turn.question
    right = next(region for region in record.regions if region.name == turn.answer)
    assert (right.box.xyxy, right.label) == ((0, 10, 29, 30), "step")
    assert {region.label for region in record.regions} == {"step", "tub", "cup", None}
    assert kinds(troubles) == {"box_clipped": 1}


@pytest.mark.parametrize("kind", ["telling", "pointing"])
def test_the_right_option_stands_anywhere(tmp_path: Path, kind: str) -> None:
    images = write(tmp_path, kind, [TOLD if kind == "telling" else POINTED])
    places = set()
    for seed in range(40):
        (record,), _ = read(f"visual7w-{kind}", tmp_path, images, seed=seed)
        places.add(record.turns[0].options.index(record.turns[0].answer))
    assert places == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("kind", "pair", "trouble"),
    [
        ("telling", TOLD | {"question": " "}, "no_text"),
        ("telling", TOLD | {"answer": None}, "no_text"),
        ("telling", TOLD | {"answer": 4}, "malformed"),
        ("telling", TOLD | {"multiple_choices": ["a", "b", ""]}, "no_text"),
        ("telling", TOLD | {"multiple_choices": None}, "malformed"),
        ("telling", TOLD | {"multiple_choices": []}, "malformed"),
        ("telling", TOLD | {"question": "Is <region1> red?"}, "malformed"),
        ("telling", "text", "malformed"),
        ("pointing", POINTED | {"answer": 99}, "malformed"),
        ("pointing", POINTED | {"answer": [11]}, "malformed"),
        ("pointing", POINTED | {"multiple_choices": [12, 13, 99]}, "malformed"),
        ("pointing", POINTED | {"question": ""}, "no_text"),
    ],
)
def test_a_bad_pair_is_left_out_and_listed(tmp_path: Path, kind: str, pair: Any, trouble: str) -> None:
    good = TOLD if kind == "telling" else POINTED
    images = write(tmp_path, kind, [good, pair])
    records, troubles = read(f"visual7w-{kind}", tmp_path, images)
    assert len(records) == 1
    assert [each.kind for each in troubles if "qa_pairs[1]" in each.where] == [trouble]


@pytest.mark.parametrize(
    ("box", "trouble"),
    [
        ({"x": 90}, "box_outside"),
        ({"width": 0}, "box_empty"),
        ({"width": "wide"}, "malformed"),
        ({"x": float("nan")}, "malformed"),
    ],
)
def test_a_question_with_a_bad_box_is_left_out(tmp_path: Path, box: dict[str, Any], trouble: str) -> None:
    images = write(tmp_path, "pointing", [POINTED], [*BOXES[:3], BOXES[3] | box])
    records, troubles = read("visual7w-pointing", tmp_path, images)
    assert (records, kinds(troubles)) == ([], {trouble: 1})


def test_repeated_options_stand_once_and_are_counted(tmp_path: Path) -> None:
    images = write(tmp_path, "telling", [TOLD | {"multiple_choices": ["Deer.", " Deer.", "Sign."]}])
    (record,), troubles = read("visual7w-telling", tmp_path, images)
    assert (sorted(record.turns[0].options), kinds(troubles)) == (["Deer.", "Sign."], {"choice_repeated": 1})
    same = [*BOXES[:3], BOXES[0] | {"box_id": 14}]
    images = write(tmp_path, "pointing", [POINTED], same)
    (record,), troubles = read("visual7w-pointing", tmp_path, images)
    assert len(record.regions) == len(record.turns[0].options) == 3
    assert kinds(troubles)["choice_repeated"] == 1


def test_a_missing_image_is_counted_for_every_question(tmp_path: Path) -> None:
    images = write(tmp_path, "telling", [TOLD, TOLD | {"qa_id": 30}], filename="v7w_2.jpg")
    records, troubles = read("visual7w-telling", tmp_path, images)
    assert (records, kinds(troubles)) == ([], {"missing_image": 2})


def test_an_image_without_pairs_is_listed(tmp_path: Path) -> None:
    images = write(tmp_path, "telling", None)
    records, troubles = read("visual7w-telling", tmp_path, images)
    assert (records, kinds(troubles)) == ([], {"malformed": 1})


def test_an_unknown_split_names_those_that_there_are(tmp_path: Path) -> None:
    images = write(tmp_path, "telling", [TOLD])
    with pytest.raises(DataNotFound, match="train, val"):
        READERS["visual7w-telling"](tmp_path, images=images, split="dev")


@pytest.mark.parametrize(
    ("text", "word"),
    [('{"images": [', "line 1, column 13"), ("[]", "images"), ('{"images": {}}', "images"), ("[" * 100_000, "JSON")],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "dataset_v7w_telling.json").write_text(text)
    with pytest.raises(RecordInvalid, match=word):
        READERS["visual7w-telling"](tmp_path, images=tmp_path, split="train")
