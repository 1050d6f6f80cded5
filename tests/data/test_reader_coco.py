"""COCO instances, as distributed and broken in every way that we could think of."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from roi_agent.model.data.readers.base import (
    BOX_EMPTY,
    BOX_OUTSIDE,
    CLIPPED,
    IMAGE_SIZE,
    IMAGE_UNREADABLE,
    MALFORMED,
    MASK_INVALID,
    MISSING_IMAGE,
    NO_TEXT,
)
from roi_agent.model.data.readers.described_regions import MOST
from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.public_data import Json, answers, kinds, picture, read_all, reader, write_json

FILE = "annotations/instances_train2017.json"


def content() -> Json:
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [{"id": 9, "file_name": "000000000009.jpg", "width": 60, "height": 40, "license": 1}],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person"},
            {"id": 18, "name": "dog", "supercategory": "animal"},
        ],
        "annotations": [
            annotation(1, [10, 5, 20, 30], 1, segmentation=[[10, 5, 30, 5, 30, 35, 10, 35]]),
            annotation(2, [40.5, 10.25, 15, 20], 18),
        ],
    }


def annotation(id: int, bbox: object, category_id: object, **more: object) -> Json:
    values = {"id": id, "image_id": 9, "category_id": category_id, "bbox": bbox, "area": 1.0, "iscrowd": 0, "segmentation": []}
    return values | more


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "000000000009.jpg")
    write_json(tmp_path / FILE, content())
    return tmp_path


def test_every_region_is_asked_for_its_class(root: Path) -> None:
    (record,), troubles = read_all(reader("coco", root))
    assert not troubles
    assert answers(record) == {(10, 5, 30, 35): {"person"}, (40.5, 10.25, 55.5, 30.25): {"dog"}}
    assert (record.id, record.image, record.size_wh) == ("coco/train2017/9", "000000000009.jpg", (60, 40))
    person = next(region for region in record.regions if region.label == "person")
    assert person.mask is not None and person.mask.box.xyxy == (10, 5, 30, 35)
    assert "CC-BY-4.0" in record.licence


def test_images_are_also_found_in_the_folder_of_their_split(root: Path) -> None:
    (root / "images" / "000000000009.jpg").unlink()
    picture(root / "images" / "train2017" / "000000000009.jpg")
    (record,), _ = read_all(reader("coco", root))
    assert record.image == "train2017/000000000009.jpg"


def test_the_same_seed_gives_the_same_records_and_another_gives_others(root: Path) -> None:
    made = reader("coco", root)
    assert read_all(made, 1) == read_all(made, 1)
    assert len({str(read_all(made, seed)[0]) for seed in range(10)}) > 1


def test_at_most_fifteen_regions_are_drawn_and_every_one_can_be(root: Path) -> None:
    values = content()
    values["annotations"] = [annotation(id, [id, 5, 2, 2], 1) for id in range(40)]
    write_json(root / FILE, values)
    made = reader("coco", root)
    drawn = [read_all(made, seed)[0][0] for seed in range(30)]
    assert {len(record.turns) for record in drawn} == {MOST} and MOST == 15
    assert {region.box.x1 for record in drawn for region in record.regions} == set(range(40))


def test_crowds_are_left_alone(root: Path) -> None:
    values = content()
    values["annotations"] = [annotation(1, [10, 5, 20, 30], 1, iscrowd=1, segmentation={"size": [40, 60], "counts": [2400]})]
    write_json(root / FILE, values)
    assert read_all(reader("coco", root)) == ([], [])


BROKEN = {
    "outside": (annotation(3, [50, 5, 30, 10], 1), BOX_OUTSIDE),
    "no area": (annotation(3, [10, 5, 0, 10], 1), BOX_EMPTY),
    "backwards": (annotation(3, [10, 5, -4, 10], 1), BOX_EMPTY),
    "three numbers": (annotation(3, [10, 5, 4], 1), MALFORMED),
    "no box": ({"id": 3, "image_id": 9, "category_id": 1}, MALFORMED),
    "box of text": (annotation(3, ["a", "b", "c", "d"], 1), MALFORMED),
    "box of NaN": (annotation(3, [float("nan"), 0, 1, 1], 1), MALFORMED),
    "box of a huge number": (annotation(3, [1, 0, 10**400, 1], 1), MALFORMED),
    "unknown category": (annotation(3, [10, 5, 4, 4], 99), MALFORMED),
    "category of a list": (annotation(3, [10, 5, 4, 4], [1]), MALFORMED),
    "no category": ({"id": 3, "image_id": 9, "bbox": [10, 5, 4, 4]}, MALFORMED),
    "image not listed": (annotation(3, [10, 5, 4, 4], 1, image_id=77), MISSING_IMAGE),
    "no image": ({"id": 3, "category_id": 1, "bbox": [10, 5, 4, 4]}, MALFORMED),
    "no object": (7, MALFORMED),
}


@pytest.mark.parametrize(("broken", "kind"), BROKEN.values(), ids=BROKEN)
def test_a_broken_annotation_is_counted_and_the_others_stay(root: Path, broken: object, kind: str) -> None:
    values = content()
    values["annotations"].insert(1, broken)
    write_json(root / FILE, values)
    (record,), troubles = read_all(reader("coco", root))
    assert kinds(troubles) == [kind]
    assert "instances_train2017.json" in troubles[0].where and troubles[0].problem
    assert len(record.regions) == 2


FIXED = {
    "a pixel over the edge": (annotation(3, [50, 5, 10.7, 10], 1), CLIPPED, (50, 5, 60, 15)),
    "a polygon of two points": (annotation(3, [1, 2, 3, 4], 1, segmentation=[[1, 2, 3, 4]]), MASK_INVALID, (1, 2, 4, 6)),
    "a mask of another size": (
        annotation(3, [1, 2, 3, 4], 1, segmentation={"size": [2, 2], "counts": [0, 4]}),
        MASK_INVALID,
        (1, 2, 4, 6),
    ),
}


@pytest.mark.parametrize(("given", "kind", "box"), FIXED.values(), ids=FIXED)
def test_what_can_be_fixed_stays_and_is_counted(root: Path, given: Json, kind: str, box: tuple[float, ...]) -> None:
    write_json(root / FILE, content() | {"annotations": [given]})
    (record,), troubles = read_all(reader("coco", root))
    assert kinds(troubles) == [kind]
    assert record.regions[0].box.xyxy == box and record.regions[0].mask is None


BROKEN_IMAGES = {
    "not there": ({"file_name": "other.jpg"}, MISSING_IMAGE),
    "no name": ({"file_name": None}, MALFORMED),
    "a name that leads elsewhere": ({"file_name": "../annotations/instances_train2017.json"}, MALFORMED),
    "a name from the root": ({"file_name": "/etc/hostname"}, MALFORMED),
    "a name too long": ({"file_name": "a" * 5000}, MISSING_IMAGE),
    "half a letter": ({"file_name": "\ud800.jpg"}, MALFORMED),
    "no number": ({"width": "wide"}, MALFORMED),
    "another size": ({"width": 61}, IMAGE_SIZE),
    "turned": ({"width": 40, "height": 60}, IMAGE_SIZE),
}


@pytest.mark.parametrize(("change", "kind"), BROKEN_IMAGES.values(), ids=BROKEN_IMAGES)
def test_a_broken_image_is_counted(root: Path, change: Json, kind: str) -> None:
    values = content()
    values["images"][0] |= change
    write_json(root / FILE, values)
    records, troubles = read_all(reader("coco", root))
    assert (records, kinds(troubles)) == ([], [kind])


def test_an_image_that_is_cut_short_is_counted(root: Path) -> None:
    path = root / "images" / "000000000009.jpg"
    path.write_bytes(path.read_bytes()[:20])
    records, troubles = read_all(reader("coco", root))
    assert (records, kinds(troubles)) == ([], [IMAGE_UNREADABLE])


BROKEN_ENTRIES = {
    "category without a name": ("categories", {"id": 1}, NO_TEXT),
    "category without an id": ("categories", {"name": "person"}, MALFORMED),
    "category that is a number": ("categories", 3, MALFORMED),
    "image without an id": ("images", {"file_name": "x.jpg"}, MALFORMED),
}


@pytest.mark.parametrize(("table", "entry", "kind"), BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES)
def test_a_broken_entry_of_another_table_is_counted(root: Path, table: str, entry: object, kind: str) -> None:
    values = content()
    if table == "categories":
        values["categories"][0] = entry
    else:
        values[table].append(entry)
    write_json(root / FILE, values)
    records, troubles = read_all(reader("coco", root))
    assert kind in kinds(troubles)
    assert records[0].regions


def test_a_split_of_another_name_reads_its_own_file(root: Path) -> None:
    (root / FILE).rename(root / "annotations" / "instances_mine.json")
    (record,), _ = read_all(reader("coco", root, "mine"))
    assert record.id == "coco/mine/9"


@pytest.mark.parametrize("split", ["val2017", "../train2017", ""])
def test_a_split_that_is_not_there_says_what_was_looked_for(root: Path, split: str) -> None:
    with pytest.raises(
        DataNotFound, match=r"there is no annotations/instances_.*coco needs: annotations/instances_train2017.json"
    ):
        type(reader("coco", root))(root, images=root / "images", split=split)


def test_a_folder_of_images_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"the folder of images .* does not exist"):
        reader("coco", root, images=root / "nowhere")


WRONG = {
    "cut short": json.dumps(content())[:-20],
    "empty": "",
    "no JSON": "id,box\n1,2\n",
    "a list": "[]",
    "captions": json.dumps({"images": [], "annotations": []}),
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_by_its_name(root: Path, text: str) -> None:
    (root / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(RecordInvalid, match=r"instances_train2017\.json: "):
        reader("coco", root)


def test_whatever_stands_in_an_annotation_nothing_but_records_and_troubles_come_out(root: Path) -> None:
    rng = Random(0)
    junk = [None, True, -1, 3, 1e308, "", "9", "\ud800", "<region1>", [], [1, 2, 3, 4], {}, {"a": 1}, [[1, 2, 3, 4, 5, 6]]]
    values = content()
    keys = ("id", "image_id", "category_id", "bbox", "segmentation", "iscrowd")
    values["annotations"] = [annotation(id, [10, 5, 4, 4], 1) | {rng.choice(keys): rng.choice(junk)} for id in range(400)]
    values["categories"] += [{"id": rng.choice(["x", 5]), "name": each} for each in junk]
    write_json(root / FILE, values)
    records, troubles = read_all(reader("coco", root))
    assert records
    assert len(troubles) > 100


def changed_images(root: Path, *entries: Json) -> tuple[list[Any], list[Any]]:
    write_json(root / FILE, content() | {"images": list(entries)})
    return read_all(reader("coco", root))


def test_two_images_of_one_id_are_left_out_with_their_annotations(root: Path) -> None:
    picture(root / "images" / "other.jpg")
    first = content()["images"][0]
    records, troubles = changed_images(root, first, first | {"file_name": "other.jpg"})
    assert not records
    assert kinds(troubles) == [MALFORMED, MALFORMED, MISSING_IMAGE, MISSING_IMAGE]
    assert "its id 9 is not unique" in troubles[0].problem and "or not unique" in troubles[-1].problem
    records, troubles = changed_images(root, first, first)  # which is meant does not matter
    assert len(records) == 1 and not troubles


def test_two_categories_of_one_id_name_nothing(root: Path) -> None:
    values = content()
    values["categories"].append({"id": 18, "name": "cat"})
    write_json(root / FILE, values)
    (record,), troubles = read_all(reader("coco", root))
    assert answers(record) == {(10, 5, 30, 35): {"person"}}
    assert kinds(troubles) == [MALFORMED, MALFORMED, MALFORMED]


@pytest.mark.parametrize(
    "size",
    [{}, {"width": None, "height": None}, {"width": "60", "height": "40"}, {"width": 60.0, "height": None}, {"height": "40"}],
)
def test_a_size_that_is_not_stated_is_read_from_the_picture(root: Path, size: Json) -> None:
    (record,), troubles = changed_images(root, {"id": 9, "file_name": "000000000009.jpg"} | size)
    assert record.size_wh == (60, 40) and not troubles


def test_a_size_that_is_no_number_or_another_is_said_as_it_is(root: Path) -> None:
    for size, kind, words in (({"width": "wide"}, MALFORMED, "'wide'"), ({"height": 41}, IMAGE_SIZE, "60 x 40 pixels, not")):
        records, (trouble,) = changed_images(root, {"id": 9, "file_name": "000000000009.jpg"} | size)
        assert not records and trouble.kind == kind and words in trouble.problem


@pytest.mark.parametrize("image", [9, "9", 9.0])
@pytest.mark.parametrize("category", [1, "1", 1.0])
def test_ids_are_the_same_as_numbers_and_as_texts(root: Path, image: object, category: object) -> None:
    values = content()
    values["images"][0]["id"] = image
    values["categories"] = [{"id": category, "name": "person"}, {"id": 18, "name": "dog"}]
    write_json(root / FILE, values)
    (record,), troubles = read_all(reader("coco", root))
    assert answers(record) == {(10, 5, 30, 35): {"person"}, (40.5, 10.25, 55.5, 30.25): {"dog"}}
    assert record.id == "coco/train2017/9" and not troubles


def test_an_id_that_is_none_is_said_as_it_is(root: Path) -> None:
    entry = content()["images"][0]
    for id, words in ((None, "it has no id"), (9.5, "its id is 9.5"), ([9], r"its id is [9]"), (True, "its id is True")):
        _, troubles = changed_images(root, entry | {"id": id})
        assert troubles[0].problem == words


@pytest.mark.parametrize("name", ["train\\000000000009.jpg", "C:\\data\\000000000009.jpg", "00000000%30009.jpg", "a\\b c.jpg"])
def test_an_image_is_found_by_the_last_part_of_its_name(root: Path, name: str) -> None:
    picture(root / "images" / "deep" / "b c.jpg")
    (record,), troubles = changed_images(root, content()["images"][0] | {"file_name": name})
    assert record.image == ("deep/b c.jpg" if "b c" in name else "000000000009.jpg") and not troubles


def test_a_name_that_several_images_end_in_is_not_found(root: Path) -> None:
    for folder in ("one", "two"):
        picture(root / "images" / folder / "b c.jpg")
    for name, words in (("x\\b%20c.jpg", "2 images are called b c.jpg"), ("%2e%2e/own.jpg", "there is no image")):
        records, (trouble,) = changed_images(root, content()["images"][0] | {"file_name": name})
        assert not records and trouble.kind == MISSING_IMAGE and words in trouble.problem
