"""Visual Genome's region descriptions."""

from pathlib import Path

import pytest

from roi_agent.model.data.readers.base import BOX_EMPTY, BOX_OUTSIDE, CLIPPED, IMAGE_SIZE, MALFORMED, MISSING_IMAGE, NO_TEXT
from roi_agent.model.data.readers.described_regions import MOST
from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.public_data import Json, answers, kinds, picture, read_all, reader, write_json


def region(id: int, xywh: tuple[object, object, object, object], phrase: object, image: int = 1) -> Json:
    x, y, width, height = xywh
    return {"region_id": id, "width": width, "height": height, "image_id": image, "phrase": phrase, "y": y, "x": x}


def descriptions() -> list[Json]:
    first = [
        region(1382, (10, 5, 20, 30), "the clock is green in colour"),
        region(1383, (40, 10, 15, 20), "shade  along the street "),
    ]
    return [{"regions": first, "id": 1}, {"regions": [region(4091, (0, 0, 60, 40), "a wall", 2)], "id": 2}]


def image_data() -> list[Json]:
    url = "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg"
    return [
        {"width": 60, "url": url, "height": 40, "image_id": 1, "coco_id": None, "flickr_id": None},
        {"width": 60, "url": url, "height": 40, "image_id": 2, "coco_id": None, "flickr_id": None},
    ]


FIRST = {(10, 5, 30, 35): {"the clock is green in colour"}, (40, 10, 55, 30): {"shade along the street"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "VG_100K_2" / "1.jpg")
    picture(tmp_path / "images" / "VG_100K" / "2.jpg")
    write_json(tmp_path / "region_descriptions.json", descriptions())
    write_json(tmp_path / "image_data.json", image_data())
    return tmp_path


def test_every_region_is_asked_for_its_description(root: Path) -> None:
    (first, second), troubles = read_all(reader("visual-genome", root))
    assert not troubles
    assert answers(first) == FIRST
    assert answers(second) == {(0, 0, 60, 40): {"a wall"}}
    assert (first.id, first.image, second.image) == ("visual-genome/all/1", "VG_100K_2/1.jpg", "VG_100K/2.jpg")
    assert "CC-BY-4.0" in first.licence


def test_version_1_0_calls_the_number_of_an_image_id(root: Path) -> None:
    values = [{"id" if key == "image_id" else key: value for key, value in each.items()} for each in image_data()]
    write_json(root / "image_data.json", values)
    records, troubles = read_all(reader("visual-genome", root))
    assert (len(records), troubles) == (2, [])


SPLIT_FILES = {"ids": ("val_ids.json", [2]), "densecap": ("densecap_splits.json", {"train": [1], "val": [2], "test": []})}


@pytest.mark.parametrize(("file", "value"), SPLIT_FILES.values(), ids=SPLIT_FILES)
def test_a_split_is_a_list_of_images(root: Path, file: str, value: object) -> None:
    write_json(root / file, value)
    (record,), troubles = read_all(reader("visual-genome", root, "val"))
    assert not troubles
    assert record.id == "visual-genome/val/2"


def test_a_split_without_a_list_says_what_was_looked_for(root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"there is no val_ids\.json or densecap_splits\.json"):
        reader("visual-genome", root, "val")
    write_json(root / "densecap_splits.json", {"train": [1]})
    with pytest.raises(RecordInvalid, match="no list of image ids for 'val'"):
        reader("visual-genome", root, "val")


def test_images_of_a_split_that_have_no_descriptions_are_counted(root: Path) -> None:
    write_json(root / "val_ids.json", [2, 3, 2])
    records, troubles = read_all(reader("visual-genome", root, "val"))
    assert len(records) == 1
    assert kinds(troubles) == [MALFORMED] and "image 3" in troubles[0].where


def test_at_most_fifteen_regions_are_drawn(root: Path) -> None:
    many = [region(n, (n, 5, 2, 2), f"thing {n}") for n in range(50)]
    write_json(root / "region_descriptions.json", [{"regions": many, "id": 1}])
    made = reader("visual-genome", root)
    drawn = [read_all(made, seed)[0][0] for seed in range(30)]
    assert {len(record.turns) for record in drawn} == {MOST}
    assert {turn.answer for record in drawn for turn in record.turns} == {f"thing {n}" for n in range(50)}


BROKEN = {
    "outside": (region(3, (50, 5, 30, 10), "a cat"), BOX_OUTSIDE),
    "negative": (region(3, (-7, 5, 30, 10), "a cat"), BOX_OUTSIDE),
    "no area": (region(3, (10, 5, 0, 10), "a cat"), BOX_EMPTY),
    "no number": (region(3, (None, 5, 1, 10), "a cat"), MALFORMED),
    "no text": (region(3, (10, 5, 3, 10), None), NO_TEXT),
    "a text without words": (region(3, (10, 5, 3, 10), " \n"), NO_TEXT),
    "a text that is a number": (region(3, (10, 5, 3, 10), 7), MALFORMED),
    "no object": (7, MALFORMED),
}


@pytest.mark.parametrize(("broken", "kind"), BROKEN.values(), ids=BROKEN)
def test_a_broken_region_is_counted_and_the_others_stay(root: Path, broken: object, kind: str) -> None:
    values = descriptions()
    values[0]["regions"].insert(0, broken)
    write_json(root / "region_descriptions.json", values)
    (first, _), troubles = read_all(reader("visual-genome", root))
    assert kinds(troubles) == [kind]
    assert "image 1, regions[0]" in troubles[0].where
    assert answers(first) == FIRST


def test_a_box_a_pixel_over_the_edge_is_clipped_and_counted(root: Path) -> None:
    write_json(root / "region_descriptions.json", [{"regions": [region(1, (-1, 5, 62, 10), "a bench")], "id": 1}])
    (record,), troubles = read_all(reader("visual-genome", root))
    assert kinds(troubles) == [CLIPPED]
    assert record.regions[0].box.xyxy == (0, 5, 60, 15)


BROKEN_IMAGES = {
    "not listed": ("image_data.json", image_data()[:1], MISSING_IMAGE),
    "another size": ("image_data.json", [image_data()[0], image_data()[1] | {"width": 50}], IMAGE_SIZE),
    "no size": ("image_data.json", [image_data()[0], {"image_id": 2}], MALFORMED),
    "no regions": ("region_descriptions.json", [descriptions()[0], {"id": 2}], MALFORMED),
    "no id": ("region_descriptions.json", [descriptions()[0], {"regions": []}], MALFORMED),
    "no object": ("region_descriptions.json", [descriptions()[0], 2], MALFORMED),
}


@pytest.mark.parametrize(("file", "value", "kind"), BROKEN_IMAGES.values(), ids=BROKEN_IMAGES)
def test_a_broken_image_is_counted_and_the_others_stay(root: Path, file: str, value: object, kind: str) -> None:
    write_json(root / file, value)
    (record,), troubles = read_all(reader("visual-genome", root))
    assert kinds(troubles) == [kind]
    assert answers(record) == FIRST


def test_a_picture_that_is_missing_is_counted(root: Path) -> None:
    (root / "images" / "VG_100K" / "2.jpg").unlink()
    records, troubles = read_all(reader("visual-genome", root))
    assert len(records) == 1
    assert kinds(troubles) == [MISSING_IMAGE]
    assert "VG_100K/2.jpg" in troubles[0].problem


@pytest.mark.parametrize("file", ["region_descriptions.json", "image_data.json"])
def test_wrong_files_are_refused_by_their_names(root: Path, file: str) -> None:
    text = (root / file).read_text(encoding="utf-8")
    for wrong in (text[:-5], "{}", "", '"regions"'):
        (root / file).write_text(wrong, encoding="utf-8")
        with pytest.raises(RecordInvalid, match=file):
            reader("visual-genome", root)
    (root / file).unlink()
    with pytest.raises(DataNotFound, match=file):
        reader("visual-genome", root)
