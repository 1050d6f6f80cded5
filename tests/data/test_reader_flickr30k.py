"""Flickr30k Entities as XML and sentences, and in MDETR's JSON."""

from pathlib import Path

import pytest

from roi_agent.model.data.readers.base import (
    BOX_EMPTY,
    BOX_OUTSIDE,
    CLIPPED,
    IMAGE_SIZE,
    MALFORMED,
    MISSING_IMAGE,
    NO_TEXT,
    UNRELATED,
)
from roi_agent.model.data.readers.described_regions import MOST
from roi_agent.model.data.record import Record
from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.public_data import Json, kinds, picture, read_all, reader, write_json

ID = "1000092795"
# Pixels count from 1, and the last one is included.
MAN, DOG, CAT = (11, 6, 30, 35), (41, 11, 55, 30), (1, 1, 60, 40)
OBJECTS = f"""
  <object><name>1</name><bndbox><xmin>{MAN[0]}</xmin><ymin>{MAN[1]}</ymin><xmax>{MAN[2]}</xmax><ymax>{MAN[3]}</ymax></bndbox></object>
  <object><name>2</name><bndbox><xmin>{DOG[0]}</xmin><ymin>{DOG[1]}</ymin><xmax>{DOG[2]}</xmax><ymax>{DOG[3]}</ymax></bndbox></object>
  <object><name>2</name><name>3</name>
    <bndbox><xmin>{CAT[0]}</xmin><ymin>{CAT[1]}</ymin><xmax>{CAT[2]}</xmax><ymax>{CAT[3]}</ymax></bndbox></object>
  <object><name>8</name><scene>1</scene><nobndbox>0</nobndbox></object>
  <object><name>9</name><scene>0</scene><nobndbox>1</nobndbox></object>"""
SENTENCES = (
    "[/EN#1/people A man] walks [/EN#2/animals/other two animals] in [/EN#8/scene the yard] .\n"
    "[/EN#1/people He] and [/EN#3/animals a cat] , with [/EN#0/notvisual each other] .\n"
    "Nothing here has a box .\n"
)
BOXES: dict[str, tuple[float, ...]] = {"man": (10, 5, 30, 35), "dog": (40, 10, 55, 30), "cat": (0, 0, 60, 40)}


def xml(objects: str = OBJECTS, size_wh: tuple[object, object] = (60, 40), name: str = f"{ID}.jpg") -> str:
    width, height = size_wh
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{name}</filename>\n{size}{objects}\n</annotation>\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / f"{ID}.jpg")
    write(tmp_path, xml(), SENTENCES)
    (tmp_path / "train.txt").write_text(f"{ID}\n", encoding="ascii")
    return tmp_path


def write(root: Path, annotation: str | None = None, sentences: str | None = None) -> None:
    for folder, ending, text in (("Annotations", "xml", annotation), ("Sentences", "txt", sentences)):
        if text is not None:
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{ID}.{ending}").write_text(text, encoding="utf-8")


def mdetr() -> Json:
    """The same image, as MDETR wrote it: pixels from 1, sizes as text, and one entry for each caption."""
    captions = ["A man walks two animals in the yard .", "He and a cat , with each other .", "Nothing here has a box ."]
    spans = {0: [("man", (0, 5)), ("dog", (12, 23)), ("cat", (12, 23))], 1: [("man", (0, 2)), ("cat", (7, 12))], 2: []}
    corners = {"man": MAN, "dog": DOG, "cat": CAT}
    found: Json = {"info": [], "licenses": [], "images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}]}
    for number, caption in enumerate(captions):
        entry = {"file_name": f"{ID}.jpg", "height": "40", "width": "60", "id": number, "caption": caption}
        more = {"dataset_name": "flickr", "sentence_id": number, "original_img_id": int(ID), "tokens_negative": []}
        found["images"].append(entry | more)
        for name, span in spans[number]:
            x1, y1, x2, y2 = corners[name]
            annotation = {"image_id": number, "category_id": 1, "iscrowd": 0, "id": len(found["annotations"]), "area": 1}
            found["annotations"].append(annotation | {"bbox": [x1, y1, x2 - x1, y2 - y1], "tokens_positive": [span]})
    return found


def phrases(record: Record) -> dict[frozenset[str], set[str]]:
    """The right answers by what is asked about."""
    named = {xyxy: name for name, xyxy in BOXES.items()}
    things = {f"<{region.name}>": named[region.box.xyxy] for region in record.regions}
    found = {}
    for turn in record.turns:
        asked = frozenset(name for mention, name in things.items() if mention in turn.question)
        found[asked] = set(turn.references or (turn.answer,))
    return found


def told(record: Record) -> str:
    """A caption's answer, with what its regions show in place of their names."""
    named = {xyxy: name for name, xyxy in BOXES.items()}
    (turn,) = record.turns
    text = turn.answer
    for region in record.regions:
        assert f"<{region.name}>" in turn.question
        text = text.replace(f"<{region.name}>", named[region.box.xyxy])
    return text


def check(records: list[Record]) -> None:
    asked, first, second = records
    # "a cat" and "two animals" share a box, and only the man's phrases name the same boxes.
    assert phrases(asked) == {
        frozenset({"man"}): {"A man", "He"},
        frozenset({"dog", "cat"}): {"two animals"},
        frozenset({"cat"}): {"a cat"},
    }
    assert len(asked.regions) == 3
    assert told(first) == "A man (man) walks two animals (cat, dog) in the yard ."
    assert told(second) == "He (man) and a cat (cat) , with each other ."
    assert len({record.id for record in records}) == 3


def test_phrases_are_asked_for_and_captions_name_their_regions(root: Path) -> None:
    records, troubles = read_all(reader("flickr30k", root))
    assert not troubles
    check(records)
    assert records[0].id == f"flickr30k/train/{ID}/phrases"
    assert "non-commercial" in records[0].licence


def test_the_file_of_mdetr_gives_the_same_records(root: Path) -> None:
    entities, _ = read_all(reader("flickr30k", root))
    write_json(root / "final_flickr_separateGT_train.json", mdetr())
    records, troubles = read_all(reader("flickr30k", root))
    assert not troubles
    check(records)
    assert {record.id for record in records} == {record.id for record in entities}


def test_the_same_seed_gives_the_same_records(root: Path) -> None:
    made = reader("flickr30k", root)
    assert read_all(made, 3) == read_all(made, 3)


@pytest.mark.parametrize("count", [MOST, MOST + 1, 40])
def test_at_most_fifteen_regions_are_in_a_record(root: Path, count: int) -> None:
    box = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>{0}</xmax><ymax>9</ymax></bndbox>"
    objects = "".join(f"<object><name>{n}</name>{box.format(n)}</object>" for n in range(1, count + 1))
    sentences = " and ".join(f"[/EN#{n}/other thing {n}]" for n in range(1, count + 1))
    write(root, xml(objects), sentences)
    records, troubles = read_all(reader("flickr30k", root))
    assert not troubles
    assert [len(record.regions) for record in records] == [MOST, MOST]
    assert all(turn.answer.startswith("thing ") for turn in records[0].turns)


def test_a_group_of_more_boxes_than_that_is_not_asked_about(root: Path) -> None:
    box = "<bndbox><xmin>{0}</xmin><ymin>1</ymin><xmax>{0}</xmax><ymax>9</ymax></bndbox>"
    crowd = "".join(f"<object><name>1</name>{box.format(n)}</object>" for n in range(1, 21))
    write(
        root, xml(crowd + f"<object><name>2</name>{box.format(50)}</object>"), "[/EN#1/people A crowd] and [/EN#2/other a pole] ."
    )
    records, _ = read_all(reader("flickr30k", root))
    assert [len(record.regions) for record in records] == [1, 1]
    assert records[1].turns[0].answer == "A crowd and a pole (<region1>) ."


def box_of(name: int, *corners: object) -> str:
    values = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><bndbox>{''.join(f'<{k}>{v}</{k}>' for k, v in values.items())}</bndbox></object>"


BROKEN_BOXES = {
    "outside": (box_of(3, 50, 5, 70, 10), BOX_OUTSIDE),
    "backwards": (box_of(3, 20, 5, 10, 10), BOX_EMPTY),
    "no area": (box_of(3, 20, 5, 19, 10), BOX_EMPTY),
    "no number": (box_of(3, "left", 5, 10, 10), MALFORMED),
    "NaN": (box_of(3, "nan", 5, 10, 10), MALFORMED),
    "an empty box": ("<object><name>3</name><bndbox></bndbox></object>", MALFORMED),
}


@pytest.mark.parametrize(("box", "kind"), BROKEN_BOXES.values(), ids=BROKEN_BOXES)
def test_a_broken_box_is_counted_and_its_phrase_has_no_region(root: Path, box: str, kind: str) -> None:
    write(root, xml(OBJECTS.replace("<name>3</name>", "") + box))
    records, troubles = read_all(reader("flickr30k", root))
    assert kinds(troubles) == [kind]
    assert told(records[2]) == "He (man) and a cat , with each other ."


def test_a_box_a_pixel_over_the_edge_is_clipped_and_counted(root: Path) -> None:
    write(root, xml(box_of(1, 0, 1, 30, 35)))
    records, troubles = read_all(reader("flickr30k", root))
    assert kinds(troubles) == [CLIPPED]
    assert records[0].regions[0].box.xyxy == (0, 0, 30, 35)


BROKEN = {
    "XML cut short": (xml()[:-30], None, [MALFORMED]),
    "no XML": ("boxes", None, [MALFORMED]),
    "entities": ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + xml(), None, [MALFORMED]),
    "no size": (xml().replace("size", "place"), None, [MALFORMED]),
    "another size": (xml(size_wh=(61, 40)), None, [IMAGE_SIZE]),
    "another image": (xml(name="elsewhere.jpg"), None, [MISSING_IMAGE]),
    "no sentences": (None, "", [NO_TEXT]),
}


@pytest.mark.parametrize(("annotation", "sentences", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_broken_image_is_counted(root: Path, annotation: str | None, sentences: str | None, expected: list[str]) -> None:
    write(root, annotation, sentences)
    records, troubles = read_all(reader("flickr30k", root))
    assert (records, kinds(troubles)) == ([], expected)
    assert ID in troubles[0].where


@pytest.mark.parametrize(("folder", "kind"), [("Annotations", MISSING_IMAGE), ("Sentences", NO_TEXT)])
def test_a_file_that_is_missing_is_counted(root: Path, folder: str, kind: str) -> None:
    for path in (root / folder).iterdir():
        path.unlink()
    records, troubles = read_all(reader("flickr30k", root))
    assert (records, kinds(troubles)) == ([], [kind])


BROKEN_LINES = {
    "a mark without an end": ("[/EN#1/people A man walks .\n", MALFORMED),
    "a mark without words": ("[/EN#1/people] walks .\n", MALFORMED),
    "a region in the text": ("[/EN#1/people A man] is <region1> .\n", MALFORMED),
}


@pytest.mark.parametrize(("line", "kind"), BROKEN_LINES.values(), ids=BROKEN_LINES)
def test_a_broken_caption_is_counted_and_the_others_stay(root: Path, line: str, kind: str) -> None:
    write(root, None, line + SENTENCES)
    records, troubles = read_all(reader("flickr30k", root))
    assert kinds(troubles) == [kind]
    check(records)


def test_sentences_that_are_not_utf_8_are_counted(root: Path) -> None:
    (root / "Sentences" / f"{ID}.txt").write_bytes(b"[/EN#1/people A m\xe1n] .")
    assert kinds(read_all(reader("flickr30k", root))[1]) == [MALFORMED]


BROKEN_CAPTIONS = {
    "no caption": ("images", 2, {"caption": None}, NO_TEXT),
    "no words": ("images", 2, {"caption": " "}, NO_TEXT),
    "no image": ("annotations", 4, {"image_id": 99}, MISSING_IMAGE),
    "no box": ("annotations", 4, {"bbox": None}, MALFORMED),
    "a box outside": ("annotations", 4, {"bbox": [50, 5, 30, 10]}, BOX_OUTSIDE),
    "a box backwards": ("annotations", 4, {"bbox": [50, 5, -3, 10]}, BOX_EMPTY),
    "no words marked": ("annotations", 4, {"tokens_positive": []}, NO_TEXT),
    "words outside": ("annotations", 4, {"tokens_positive": [[7, 99]]}, MALFORMED),
    "words backwards": ("annotations", 4, {"tokens_positive": [[7, 3]]}, MALFORMED),
    "words over others": ("annotations", 4, {"tokens_positive": [[1, 12]]}, MALFORMED),
}


@pytest.mark.parametrize(("table", "index", "change", "kind"), BROKEN_CAPTIONS.values(), ids=BROKEN_CAPTIONS)
def test_a_broken_entry_of_mdetr_is_counted_and_the_others_stay(
    root: Path, table: str, index: int, change: Json, kind: str
) -> None:
    values = mdetr()
    values[table][index] |= change
    write_json(root / "final_flickr_separateGT_train.json", values)
    records, troubles = read_all(reader("flickr30k", root))
    assert kinds(troubles) == [kind]
    assert told(records[1]) == "A man (man) walks two animals (cat, dog) in the yard ."
    assert told(records[2]).startswith("He (man) and a cat")


@pytest.mark.parametrize("form", ["entities", "mdetr"])
def test_captions_that_are_known_to_be_unrelated_are_left_out_and_counted(root: Path, form: str) -> None:
    (root / "UNRELATED_CAPTIONS").write_text(f"# format: <imageID> <sentence number>\n{ID} 1\n7 2", encoding="ascii")
    if form == "mdetr":
        write_json(root / "final_flickr_separateGT_train.json", mdetr())
    records, troubles = read_all(reader("flickr30k", root))
    assert kinds(troubles) == [UNRELATED]
    assert [record.id.split("/")[-1] for record in records] == ["phrases", "caption2"]
    (root / "UNRELATED_CAPTIONS").write_text("a caption", encoding="ascii")
    with pytest.raises(RecordInvalid, match="UNRELATED_CAPTIONS"):
        reader("flickr30k", root)


def test_a_split_that_is_not_there_says_what_was_looked_for(root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"there is no val\.txt"):
        reader("flickr30k", root, "val")


def test_wrong_files_are_refused_by_their_names(root: Path) -> None:
    for wrong in (b"\xff\xfe1\x000\x00", b"../secret", b"1 two"):
        (root / "train.txt").write_bytes(wrong)
        with pytest.raises(RecordInvalid, match=r"train\.txt: this is not a list of image ids"):
            reader("flickr30k", root)
    (root / "final_flickr_separateGT_train.json").write_text('{"images": [', encoding="utf-8")
    with pytest.raises(RecordInvalid, match=r"final_flickr_separateGT_train\.json: this is not JSON"):
        reader("flickr30k", root)
