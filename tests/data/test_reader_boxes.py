"""Own boxes as CSV and as COCO-style JSON: what is asked, and every mistake with its file, line and column."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.questions import draw_wording
from roi_agent.model.errors import DataNotFound, RecordInvalid
from roi_agent.prompts import load_blocks
from tests.annotations import kinds, picture, read, write_json

HEADER = "image,x1,y1,x2,y2,text"


def table(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    picture(folder / "images/cats/7.png")
    picture(folder / "images/dog.png")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder / "images"


def asked(block: str) -> list[str]:
    return [line.format(a="<region1>") for line in load_blocks("data_questions")[block].splitlines()]


def test_a_table_becomes_one_conversation_an_image(tmp_path: Path) -> None:
    lines = [HEADER, "cats/7.png,1,2,30,40,a cat", "dog.png,0,0,100,80,the whole", 'cats/7.png,5,5,9.5,9,"grey, thin"', ""]
    records, troubles = read("boxes-csv", tmp_path, table(tmp_path, *lines))
    assert [(record.id, record.image) for record in records] == [
        ("boxes-csv/train/cats/7.png/0", "cats/7.png"),
        ("boxes-csv/train/dog.png/0", "dog.png"),
    ]
    assert [region.box.xyxy for region in records[0].regions] == [(1, 2, 30, 40), (5, 5, 9.5, 9)]
    assert [turn.answer for turn in records[0].turns] == ["a cat", "grey, thin"]
    assert records[0].turns[0].question in asked("own_text")
    assert "<region2>" in records[0].turns[1].question
    assert not troubles


@pytest.mark.parametrize(
    ("numbers", "format", "unit"),
    [
        ("10,20,60,60", "", ""),
        ("10,20,60,60", "xyxy", "pixel"),
        ("10,20,50,40", "xywh", ""),
        ("35,40,50,40", "cxcywh", "pixel"),
        ("0.1,0.25,0.6,0.75", "", "normalised"),
        ("0.35,0.5,0.5,0.5", "cxcywh", "normalised"),
        ("100,250,500,500", "xywh", "thousandths"),
    ],
)
def test_formats_and_units_are_converted(tmp_path: Path, numbers: str, format: str, unit: str) -> None:
    images = table(tmp_path, f"{HEADER},format,unit", f"dog.png,{numbers},dog,{format},{unit}")
    (record,), troubles = read("boxes-csv", tmp_path, images)
    assert record.regions[0].box.xyxy == pytest.approx((10, 20, 60, 60))
    assert not troubles


FRACTIONS = [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.0, 0.0, 1.0, 0.5]]


@pytest.mark.parametrize("numbers", FRACTIONS)
def test_fractions_without_a_unit_are_no_pixels(tmp_path: Path, numbers: list[float]) -> None:
    line = f"dog.png,{','.join(map(str, numbers))},dog"
    images = table(tmp_path, f"{HEADER},unit", f"{line},", f"{line},pixel", f"{line},normalised", "dog.png,0.5,0.5,1.5,1,dog,")
    (record,), (trouble,) = read("boxes-csv", tmp_path, images)
    assert record.regions[0].box.xyxy == tuple(numbers) and len(record.regions) == 3
    assert (trouble.kind, trouble.where) == ("malformed", "boxes.csv, line 2")
    assert "unit" in trouble.problem and "normalised" in trouble.problem


@pytest.mark.parametrize("numbers", FRACTIONS)
def test_fractions_in_json_are_no_pixels_either_unless_it_says_so(tmp_path: Path, numbers: list[float]) -> None:
    boxes = [{"image_id": 1, "bbox": numbers, "caption": "a"} | unit for unit in ({}, {"unit": "pixel"}, {"unit": "normalised"})]
    (record,), (trouble,) = read("boxes-json", tmp_path / "own.json", coco(tmp_path, boxes))
    assert len(record.regions) == 2 and record.regions[1].box.width == numbers[2] * 100
    assert (trouble.kind, trouble.where) == ("malformed", "own.json, annotations[0]") and "normalised" in trouble.problem


def test_own_questions_name_their_region_or_are_put_after_it(tmp_path: Path) -> None:
    lines = [
        f"question,{HEADER}",
        "What colour has <region>?,dog.png,1,2,3,4,red",
        "How old?,dog.png,1,2,3,4,three",
        ",dog.png,1,2,3,4,dog",
    ]
    (record,), _ = read("boxes-csv", tmp_path, table(tmp_path, *lines, encoding="utf-8-sig"))
    assert [turn.question for turn in record.turns][:2] == ["What colour has <region1>?", "<region2>: How old?"]
    assert record.turns[2].question.replace("<region3>", "<region1>") in asked("own_text")


def test_an_image_with_many_boxes_has_several_conversations(tmp_path: Path) -> None:
    images = table(tmp_path, HEADER, *(f"dog.png,{number},0,50,50,dog {number}" for number in range(31)))
    records, _ = read("boxes-csv", tmp_path, images)
    assert [len(record.regions) for record in records] == [15, 15, 1]
    assert [turn.answer for record in records for turn in record.turns] == [f"dog {number}" for number in range(31)]


@pytest.mark.parametrize(
    ("line", "kind", "where"),
    [
        ("dog.png,1,2,3,x,dog", "malformed", "boxes.csv, line 3, column y2"),
        ("dog.png,,2,3,4,dog", "malformed", "boxes.csv, line 3, column x1"),
        ("dog.png,1,2,3,4", "malformed", "boxes.csv, line 3"),
        ("dog.png,1,2,3,4,dog,more", "malformed", "boxes.csv, line 3"),
        ("dog.png,1,2,3,4, ", "no_text", "boxes.csv, line 3"),
        ("dog.png,1,2,3,4,like <region9>", "malformed", "boxes.csv, line 3"),
        ("cat.png,1,2,3,4,cat", "missing_image", "boxes.csv, line 3"),
        (",1,2,3,4,cat", "missing_image", "boxes.csv, line 3"),
        ("/etc/passwd,1,2,3,4,cat", "malformed", "boxes.csv, line 3"),
        ("../boxes.csv,1,2,3,4,cat", "malformed", "boxes.csv, line 3"),
        ("dog.png,1,2,300,4,dog", "box_outside", "boxes.csv, line 3"),
        ("dog.png,1,2,1,4,dog", "box_empty", "boxes.csv, line 3"),
        ("dog.png,9,2,1,4,dog", "box_empty", "boxes.csv, line 3"),
        ("dog.png,1,2,inf,4,dog", "malformed", "boxes.csv, line 3"),
        ("dog.png,nan,2,3,4,dog", "malformed", "boxes.csv, line 3"),
        ("dog.png,1,2,100.5,4,dog", "box_clipped", "boxes.csv, line 3"),
    ],
)
def test_a_bad_line_is_listed_with_its_place(tmp_path: Path, line: str, kind: str, where: str) -> None:
    records, troubles = read("boxes-csv", tmp_path, table(tmp_path, HEADER, "dog.png,1,2,3,4,first", line))
    assert [(each.kind, each.where) for each in troubles] == [(kind, where)]
    assert len(records[0].turns) == (2 if kind == "box_clipped" else 1)


@pytest.mark.parametrize(("format", "unit", "word"), [("yxyx", "pixel", "yxyx"), ("xyxy", "inch", "inch")])
def test_unknown_formats_and_units_are_listed(tmp_path: Path, format: str, unit: str, word: str) -> None:
    images = table(tmp_path, f"{HEADER},format,unit", f"dog.png,1,2,3,4,dog,{format},{unit}")
    records, (trouble,) = read("boxes-csv", tmp_path, images)
    assert not records and word in trouble.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["boxes.csv, line 1", "no column image"]),
        ("image,x1,y1,x2,y2\n", ["boxes.csv, line 1", "no column text"]),
        ("image;x1;y1;x2;y2;text\n", ["boxes.csv, line 1", "no column image"]),
        (f"{HEADER},colour\n", ["boxes.csv, line 1, column 7", "'colour' is unknown"]),
        (f"{HEADER},text\n", ["boxes.csv, line 1, column 6", "'text' occurs twice"]),
        (f'{HEADER}\ndog.png,1,2,3,4,"dog\n', ["boxes.csv, line 2", "unexpected end of data"]),
        (f"{HEADER}\ndog.png,1,2,3,4,\xe9\n", ["boxes.csv, after line", "not UTF-8"]),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    table(tmp_path)
    (tmp_path / "boxes.csv").write_text(text, encoding="latin-1")
    with pytest.raises(RecordInvalid) as raised:
        READERS["boxes-csv"](tmp_path, images=tmp_path / "images", split="train")
    assert all(word in raised.value.problem for word in words), raised.value.problem


@pytest.mark.parametrize("name", ["boxes-csv", "boxes-json"])
def test_a_root_without_the_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataNotFound, match=name.replace("-", r"\.")):
        READERS[name](tmp_path, images=tmp_path, split="train")


def coco(folder: Path, annotations: object, **others: object) -> Path:
    picture(folder / "images/dog.png")
    images = [{"id": 1, "file_name": "dog.png", "width": 100, "height": 80}, {"id": "b", "file_name": "gone.png"}]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "dog"}]}
    write_json(folder / "own.json", data | others)
    return folder / "images"


BOX: dict[str, Any] = {"image_id": 1, "bbox": [10, 20, 30, 40]}


@pytest.mark.parametrize(
    ("annotation", "answer", "block"),
    [
        ({"caption": "a grey dog"}, "a grey dog", "own_text"),
        ({"description": " it \n sleeps"}, "it sleeps", "own_text"),
        ({"caption": "", "description": "asleep", "category_id": 3}, "asleep", "own_text"),
        ({"category_id": 3}, "dog", "class"),
    ],
)
def test_an_annotation_answers_with_its_caption_or_its_class(
    tmp_path: Path, annotation: dict[str, Any], answer: str, block: str
) -> None:
    images = coco(tmp_path, [BOX | annotation])
    (record,), troubles = read("boxes-json", tmp_path / "own.json", images)
    assert record.regions[0].box.xyxy == (10, 20, 40, 60)
    assert record.regions[0].label == ("dog" if "category_id" in annotation else None)
    assert record.turns[0].answer == answer and record.turns[0].question in asked(block)
    assert not troubles


def test_outlines_become_masks_and_bad_ones_are_counted(tmp_path: Path) -> None:
    polygon = [[10, 20, 40, 20, 40, 60]]
    boxes = [BOX | {"caption": "a", "segmentation": polygon}, BOX | {"caption": "b", "segmentation": [[1, 2]]}]
    (record,), troubles = read("boxes-json", tmp_path / "own.json", coco(tmp_path, boxes))
    assert [region.mask is not None for region in record.regions] == [True, False]
    assert kinds(troubles) == {"mask_invalid": 1}


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (BOX, "no_text"),
        (BOX | {"category_id": 99}, "no_text"),
        (BOX | {"category_id": [3]}, "no_text"),
        (BOX | {"caption": 7}, "malformed"),
        (BOX | {"caption": "  "}, "no_text"),
        (BOX | {"caption": "a", "image_id": 2}, "malformed"),
        (BOX | {"caption": "a", "image_id": [1]}, "malformed"),
        (BOX | {"caption": "a", "image_id": "b"}, "missing_image"),
        ({"image_id": 1, "caption": "a"}, "malformed"),
        (BOX | {"caption": "a", "bbox": [90, 0, 20, 20]}, "box_outside"),
        (BOX | {"caption": "a", "bbox": [10, 20, 0, 20]}, "box_empty"),
        ("text", "malformed"),
    ],
)
def test_a_bad_annotation_is_listed(tmp_path: Path, annotation: object, kind: str) -> None:
    images = coco(tmp_path, [BOX | {"caption": "good"}, annotation])
    records, troubles = read("boxes-json", tmp_path / "own.json", images)
    assert len(records) == 1 and len(records[0].turns) == 1
    assert [(each.kind, each.where) for each in troubles] == [(kind, "own.json, annotations[1]")]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (BOX, "it has neither a caption nor a category"),
        (BOX | {"category_id": 99}, "its category 99 is not in the file's list"),
        (BOX | {"category_id": 3.5}, "its category 3.5 is not in the file's list"),
        (BOX | {"caption": "a", "image_id": 2}, "there is no image with the id 2"),
        (BOX | {"caption": "a", "image_id": None}, "it has no image_id"),
        (BOX | {"caption": "a", "image_id": 1.5}, "its image_id is 1.5"),
    ],
)
def test_what_an_annotation_lacks_is_said_as_it_is(tmp_path: Path, annotation: object, words: str) -> None:
    records, (trouble,) = read("boxes-json", tmp_path / "own.json", coco(tmp_path, [annotation]))
    assert not records and trouble.problem == words


@pytest.mark.parametrize(("image", "category"), [("1", "3"), (1.0, 3.0), (1, "3")])
def test_ids_in_another_form_are_the_same_ids(tmp_path: Path, image: object, category: object) -> None:
    folder = coco(tmp_path, [BOX | {"image_id": image, "category_id": category}])
    (record,), troubles = read("boxes-json", tmp_path / "own.json", folder)
    assert record.turns[0].answer == "dog" and not troubles


@pytest.mark.parametrize("size", [{}, {"width": None, "height": None}, {"width": "100", "height": "80"}, {"width": 100.0}])
def test_a_size_that_is_not_stated_is_not_compared(tmp_path: Path, size: dict[str, Any]) -> None:
    folder = coco(tmp_path, [BOX | {"caption": "a"}], images=[{"id": 1, "file_name": "dog.png"} | size])
    (record,), troubles = read("boxes-json", tmp_path / "own.json", folder)
    assert record.size_wh == (100, 80) and not troubles


def test_two_images_of_one_id_are_left_out_and_reported(tmp_path: Path) -> None:
    picture(tmp_path / "images/cat.png")
    images = [{"id": 1, "file_name": "dog.png"}, {"id": 1, "file_name": "cat.png"}]
    folder = coco(tmp_path, [BOX | {"caption": "a"}], images=images)
    records, troubles = read("boxes-json", tmp_path / "own.json", folder)
    assert not records and [each.problem for each in troubles[:2]] == ["its id 1 is not unique"] * 2
    assert troubles[2].where == "own.json, annotations[0]"


@pytest.mark.parametrize("name", ["photos\\dog.png", "dog%2epng", "C:\\dog.png"])
def test_names_of_other_systems_are_found(tmp_path: Path, name: str) -> None:
    images = table(tmp_path, HEADER, f"{name},1,2,3,4,a dog")
    (record,), troubles = read("boxes-csv", tmp_path, images)
    assert record.image == "dog.png" and not troubles


def test_boxes_made_for_another_size_are_left_out(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "dog.png", "width": 80, "height": 100}]  # a photo that was turned later
    folder = coco(tmp_path, [BOX | {"caption": "a"}], images=images)
    records, (trouble,) = read("boxes-json", tmp_path / "own.json", folder)
    assert not records and "80 x 100" in trouble.problem


@pytest.mark.parametrize("text", ['{"images": [],', "[]", '{"images": []}', '{"images": 1, "annotations": []}', "\xff"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text, encoding="latin-1")
    with pytest.raises(RecordInvalid, match=r"boxes\.json"):
        READERS["boxes-json"](tmp_path, images=tmp_path, split="train")


def test_words_that_begin_as_the_name_of_a_region_stay_words() -> None:
    said = draw_wording("answered_why", Random(0), question="region 1 is red?", answer="regions are {not}.")
    assert "region 1 is red?" in said and "regions are {not}." in said and "<" not in said
    assert "<region2>" in draw_wording("class", Random(0), a="region2")
