"""VCR as it is distributed: its texts, its three forms, its masks, and what is wrong with it now and then."""

import json
from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.base import Unusable
from roi_agent.model.data.readers.vcr import detokenise
from roi_agent.model.errors import DataNotFound, InvalidSetting
from tests.annotations import changed, kinds, picture, read, write_json

LINE: dict[str, Any] = {
    "movie": "1_A",
    "objects": ["person", "person", "diningtable"],
    "interesting_scores": [0],
    "answer_likelihood": "likely",
    "img_fn": "lsmdc_1_A/1_A_00@0.jpg",
    "metadata_fn": "lsmdc_1_A/1_A_00@0.json",
    "question": ["Why", "is", [1], "pointing", "at", [0], "?"],
    "answer_choices": [
        [[1], "wants", "[", [0], "]", "to", "sit", "."],
        [[1], "is", "telling", "that", [0, 1], "ordered", "it", "."],
        ["He", "does", "n't", "like", [0], "'s", "hat", "."],
        ["No", "reason", "."],
    ],
    "answer_label": 1,
    "rationale_choices": [
        [[0], "has", "food", "."],
        [[1], "is", "at", "the", [2], "."],
        ["It", "rains", "."],
        [[1], "sings", "."],
    ],
    "rationale_label": 0,
    "img_id": "train-0",
    "question_number": 0,
    "annot_id": "train-0",
}
METADATA: dict[str, Any] = {
    "boxes": [[10, 10, 40, 70, 0.99], [50, 5, 90, 75, 0.98], [0, 40, 100.5, 80, 0.9]],
    "names": ["person", "person", "diningtable"],
    "width": 100,
    "height": 80,
    "segms": [[[[10, 10], [40, 10], [40, 70], [10, 70]]], [], [[[0, 40], [100, 40]]]],
}


def write(folder: Path, lines: list[Any], metadata: object = METADATA, split: str = "train") -> Path:
    picture(folder / "vcr1images/lsmdc_1_A/1_A_00@0.jpg")
    write_json(folder / "vcr1images/lsmdc_1_A/1_A_00@0.json", metadata)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / f"{split}.jsonl").write_text("\n".join(texts), encoding="utf-8")
    return folder / "vcr1images"


def test_two_rounds_ask_the_question_and_then_why(tmp_path: Path) -> None:
    images = write(tmp_path, [LINE])
    (record,), _ = read("vcr", tmp_path, images)
    assert record.id == "vcr/train/1"
    first, second = record.turns
    assert first.question == "Why is person at <region2> pointing at person at <region1>?"
    assert first.answer == "person at <region2> is telling that person at <region1> and person at <region2> ordered it."
    assert first.options[2:] == ("He doesn't like person at <region1>'s hat.", "No reason.")
    assert "<region" not in second.question
    assert second.answer == second.options[0] == "person at <region1> has food."
    assert len(first.options) == len(second.options) == 4


def test_regions_of_the_question_come_first_and_all_options_bring_theirs(tmp_path: Path) -> None:
    images = write(tmp_path, [LINE])
    (two,), troubles = read("vcr", tmp_path, images)
    assert [(region.name, region.label) for region in two.regions] == [
        ("region2", "person"),
        ("region1", "person"),
        ("region3", "diningtable"),
    ]
    assert two.regions[0].box.xyxy == (50, 5, 90, 75)
    assert two.regions[2].box.xyxy == (0, 40, 100, 80)  # it reached over the edge by half a pixel
    assert kinds(troubles) == {"box_clipped": 1, "mask_invalid": 1}  # two points are no polygon
    assert [region.mask is not None for region in two.regions] == [False, True, False]
    assert two.regions[1].mask is not None and two.regions[1].mask.area == pytest.approx(30 * 60, rel=0.06)
    (answer,), _ = read("vcr-qa", tmp_path, images)
    assert [region.name for region in answer.regions] == ["region2", "region1"]


def test_the_other_forms_have_one_turn_each(tmp_path: Path) -> None:
    images = write(tmp_path, [LINE], split="val")
    (answer,), _ = read("vcr-qa", tmp_path, images, split="val")
    (reason,), _ = read("vcr-qar", tmp_path, images, split="val")
    (two,), _ = read("vcr", tmp_path, images, split="val")
    assert answer.turns == two.turns[:1]
    assert reason.turns[0].answer == two.turns[1].answer
    assert two.turns[0].question in reason.turns[0].question and two.turns[0].answer in reason.turns[0].question


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["Is", "n't", "it", "(", "really", ")", "?"], "Isn't it (really)?"),
        (["They", "'re", [0, 1, 0], "'s"], "They're cat at <region1>, dog at <region2> and cat at <region1>'s"),
        (["  spaces ", "\t", "stay", "single"], "spaces stay single"),
        (["Rock", "'n'", "roll"], "Rock 'n' roll"),
        (["5", "%", "of", "$", "3"], "5% of $3"),
    ],
)
def test_tokens_become_a_sentence(tokens: list[Any], text: str) -> None:
    assert detokenise(tokens, ["cat", "dog"], where="here") == text


@pytest.mark.parametrize("tokens", [None, [], [" "], "text", [[]], [[2]], [[-1]], [[0.5]], [{}], [None]])
def test_tokens_that_say_nothing_are_unusable(tokens: object) -> None:
    with pytest.raises(Unusable):
        detokenise(tokens, ["cat", "dog"], where="here")


@pytest.mark.parametrize(
    ("others", "kind", "word"),
    [
        ({"question": [[3], "?"]}, "malformed", "object 3"),
        ({"answer_choices": [[[7]], ["b"], ["c"], ["d"]]}, "malformed", "object 7"),
        ({"question": []}, "no_text", "no words"),
        ({"question": None}, "no_text", "no words"),
        ({"question": ["Who", "\ud800", "?"]}, "malformed", "lone surrogate"),
        ({"question": ["<region1>", "?"]}, "malformed", "<region1>"),
        ({"answer_label": None}, "malformed", "answer_label is None"),
        ({"rationale_label": 4}, "malformed", "4 choices"),
        ({"answer_choices": "four"}, "malformed", "four"),
        ({"answer_choices": [["a"], ["a"]]}, "malformed", "all the same"),
        ({"objects": None}, "malformed", "objects"),
        ({"img_fn": "gone.jpg"}, "missing_image", "gone.jpg"),
        ({"img_fn": "../train.jsonl"}, "malformed", "train.jsonl"),
        ({"img_fn": "x" * 5000}, "missing_image", "there is no image"),
        ({"img_fn": "lsmdc_1_A/1_A_00@0.json"}, "image_unreadable", "not in a supported image format"),
        ({"img_fn": None}, "malformed", "img_fn"),
        ({"metadata_fn": "gone.json"}, "malformed", "gone.json"),
    ],
)
def test_a_bad_line_is_left_out_and_listed(tmp_path: Path, others: dict[str, Any], kind: str, word: str) -> None:
    bad = {key: others.get(key, value) for key, value in LINE.items()}
    images = write(tmp_path, [LINE, bad | {"annot_id": "train-1"}])
    records, troubles = read("vcr-qar", tmp_path, images)
    assert [record.id for record in records] == ["vcr-qar/train/1"]
    left_out = [each for each in troubles if each.kind == kind]
    assert len(left_out) == 1 and word in left_out[0].problem and left_out[0].where.startswith("train.jsonl, line 2")


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ({"boxes": [[10, 10, 40, 70, 0.9], [50, 5, 150, 75, 0.9], [0, 40, 100, 80, 0.9]]}, "box_outside"),
        ({"boxes": [[10, 10, 40, 70, 0.9], [50, 5, 50, 75, 0.9], [0, 40, 100, 80, 0.9]]}, "box_empty"),
        ({"boxes": [[10, 10, 40, 70, 0.9]]}, "malformed"),
        ({"boxes": [[10, 10, 40, 70, 0.9], "none"]}, "malformed"),
        ({"boxes": None}, "malformed"),
        ({"width": 120}, "image_size"),
    ],
)
def test_bad_metadata_leaves_its_questions_out(tmp_path: Path, others: dict[str, Any], kind: str) -> None:
    images = write(tmp_path, [LINE], METADATA | others)
    records, troubles = read("vcr-qa", tmp_path, images)
    assert (records, kinds(troubles)) == ([], {kind: 1})


@pytest.mark.parametrize(
    "segms", [None, "none", [["x"], [], []], [[[[0, 0], [1, "a"], [1, 1]]], [], []], [[[[0, 0], 5]], [], []], []]
)
def test_a_bad_segment_costs_the_mask_only(tmp_path: Path, segms: object) -> None:
    images = write(tmp_path, [LINE], changed(METADATA, segms=segms))
    (record,), troubles = read("vcr-qa", tmp_path, images)
    assert all(region.mask is None for region in record.regions)
    assert set(kinds(troubles)) <= {"mask_invalid"}


def test_repeated_choices_stand_once_and_are_counted(tmp_path: Path) -> None:
    choices = [["Yes", "."], ["No", "."], ["No", " ", "."], ["Maybe", "."]]
    images = write(tmp_path, [LINE | {"answer_choices": choices, "answer_label": 2}])
    (record,), troubles = read("vcr-qa", tmp_path, images)
    assert record.turns[0].options == ("Yes.", "No.", "Maybe.")
    assert record.turns[0].answer == "No."
    assert kinds(troubles) == {"choice_repeated": 1}


def test_a_file_that_is_cut_short_loses_its_last_line_only(tmp_path: Path) -> None:
    whole = json.dumps(LINE)
    images = write(tmp_path, [whole, whole[:200]])
    records, troubles = read("vcr-qa", tmp_path, images)
    assert len(records) == 1
    assert [(each.kind, each.where) for each in troubles] == [("malformed", "train.jsonl, line 2")]


def test_the_test_split_is_refused_for_it_has_no_answers(tmp_path: Path) -> None:
    images = write(tmp_path, [changed(LINE, answer_label=None, rationale_label=None)], split="test")
    with pytest.raises(InvalidSetting, match="not public"):
        READERS["vcr"](tmp_path, images=images, split="test")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"val\.jsonl"):
        READERS["vcr"](tmp_path, images=tmp_path, split="val")
    with pytest.raises(DataNotFound, match="no-such"):
        READERS["vcr"](tmp_path, images=tmp_path / "no-such", split="val")
