"""RefCOCO, RefCOCO+ and RefCOCOg in REFER's layout and in MDETR's."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.data.readers.base import BOX_EMPTY, BOX_OUTSIDE, IMAGE_SIZE, MALFORMED, MISSING_IMAGE, NO_TEXT
from roi_agent.model.errors import DataNotFound, RecordInvalid
from tests.public_data import Json, answers, kinds, picture, read_all, reader, write_json

IMAGE = "COCO_train2014_000000000123.jpg"


def ref(id: int, ann_id: object, sentences: object, split: object = "train", image_id: object = 123) -> Json:
    """As in REFER; the number at the end of `file_name` is the annotation's."""
    if isinstance(sentences, list):
        numbered = enumerate(sentences)
        sentences = [{"tokens": str(s).split(), "raw": s, "sent_id": 10 * id + n, "sent": s} for n, s in numbered]
    name = IMAGE.replace(".jpg", f"_{ann_id}.jpg")
    return {
        "sent_ids": [10 * id],
        "file_name": name,
        "ann_id": ann_id,
        "ref_id": id,
        "image_id": image_id,
        "split": split,
        "sentences": sentences,
        "category_id": 1,
    }


def refs() -> list[Json]:
    return [
        ref(1, 11, ["the man in red", "man left", "man left"]),
        ref(2, 12, ["the dog"]),
        ref(3, 12, ["a brown dog on the right"]),
        ref(4, 11, ["somebody"], split="val"),
        ref(5, 11, ["him"], split="testA"),
    ]


def instances() -> Json:
    box = {"image_id": 123, "category_id": 1, "iscrowd": 0, "segmentation": [[10, 5, 30, 5, 30, 35, 10, 35]], "area": 600}
    return {
        "info": {},
        "licenses": [],
        "images": [{"id": 123, "file_name": IMAGE, "width": 60, "height": 40, "coco_url": ""}],
        "annotations": [box | {"id": 11, "bbox": [10, 5, 20, 30]}, {"id": 12, "image_id": 123, "bbox": [40, 10, 15, 20]}],
        "categories": [{"id": 1, "name": "person"}],
    }


def mdetr(name: str = "refcoco") -> Json:
    """As MDETR writes it: an entry for each phrase."""
    phrases = [(11, "the man in red"), (11, "man left"), (12, "the dog"), (12, "a brown dog on the right")]
    entry = {"file_name": IMAGE, "height": 40, "width": 60, "original_id": 123, "dataset_name": name, "tokens_negative": [[0, 3]]}
    boxes = {11: [10, 5, 20, 30], 12: [40, 10, 15, 20]}
    found: dict[str, Any] = {"info": {}, "licenses": [], "images": [], "annotations": [], "categories": []}
    for index, (id, phrase) in enumerate(phrases):
        found["images"].append(entry | {"id": index, "caption": phrase})
        annotation = {"area": 1, "iscrowd": 0, "image_id": index, "category_id": 1, "id": index, "bbox": boxes[id]}
        found["annotations"].append(annotation | {"original_id": id, "tokens_positive": [[0, 3]]})
    return found


EXPECTED = {(10, 5, 30, 35): {"the man in red", "man left"}, (40, 10, 55, 30): {"the dog", "a brown dog on the right"}}


def write_pickle(path: Path, value: object, protocol: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / IMAGE)
    write_json(tmp_path / "refcoco" / "instances.json", instances())
    write_pickle(tmp_path / "refcoco" / "refs(unc).p", refs())
    return tmp_path


def test_every_region_is_asked_for_a_phrase_and_all_its_phrases_are_right(root: Path) -> None:
    (record,), troubles = read_all(reader("refcoco", root))
    assert not troubles
    found = answers(record)
    assert len(record.turns) == 2  # the second region has two entries
    assert found == EXPECTED
    assert (record.id, record.image) == ("refcoco/train/123", IMAGE)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_age_are_read(root: Path, protocol: int) -> None:
    write_pickle(root / "refcoco" / "refs(unc).p", refs(), protocol)
    assert answers(read_all(reader("refcoco", root))[0][0]) == EXPECTED


def test_a_pickle_of_python_2_is_read_with_its_letters() -> None:
    from roi_agent.model.data.readers.plain_pickle import load_plain_pickle

    path = Path(__file__).parents[1] / "fixtures" / "python2.p"
    assert load_plain_pickle(path) == [{"sent": "café", "ref_id": 12345678901234567890, "box": [1.5, None, True]}]


def test_the_json_export_gives_the_same_records(root: Path) -> None:
    pickled = read_all(reader("refcoco", root))
    (root / "refcoco" / "refs(unc).p").unlink()
    write_json(root / "refcoco" / "refs(unc).json", refs())
    assert read_all(reader("refcoco", root)) == pickled


def test_the_files_may_lie_in_the_root_itself(root: Path) -> None:
    (record,), _ = read_all(reader("refcoco", root / "refcoco", images=root / "images"))
    assert answers(record) == EXPECTED


@pytest.mark.parametrize("folder", ["", "mdetr_annotations", "OpenSource"])
@pytest.mark.parametrize("name", ["refcoco", "refcoco+", "refcocog"])
def test_the_file_of_mdetr_gives_the_same_regions(tmp_path: Path, name: str, folder: str) -> None:
    picture(tmp_path / "images" / IMAGE)
    write_json(tmp_path / folder / f"finetune_{name}_train.json", mdetr(name))
    (record,), troubles = read_all(reader(name, tmp_path))
    assert not troubles
    assert answers(record) == EXPECTED
    assert record.id == f"{name}/train/123"


SPLITS = [("val", "somebody"), ("testA", "him")]


@pytest.mark.parametrize(("split", "phrase"), SPLITS)
def test_a_split_holds_its_own_phrases_only(root: Path, split: str, phrase: str) -> None:
    (record,), _ = read_all(reader("refcoco", root, split))
    assert answers(record) == {(10, 5, 30, 35): {phrase}}


def test_a_split_that_is_not_there_names_those_that_are(root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"no split 'testB' in .*use one of its splits: testA, train, val"):
        reader("refcoco", root, "testB")


@pytest.mark.parametrize(
    ("name", "file"), [("refcoco+", "refs(unc).p"), ("refcocog", "refs(umd).p"), ("refcocog", "refs(google).p")]
)
def test_each_data_set_has_its_own_files(tmp_path: Path, name: str, file: str) -> None:
    picture(tmp_path / "images" / IMAGE)
    with pytest.raises(DataNotFound, match=r"there is no .*refs\("):
        reader(name, tmp_path)
    write_json(tmp_path / name / "instances.json", instances())
    write_pickle(tmp_path / name / file, refs())
    (record,), _ = read_all(reader(name, tmp_path))
    assert answers(record) == EXPECTED


@pytest.mark.parametrize("place", [f"train2014/{IMAGE}", "000000000123.jpg", "train2017/000000000123.jpg"])
def test_the_pictures_of_coco_2014_and_2017_are_both_found(root: Path, place: str) -> None:
    (root / "images" / IMAGE).unlink()
    picture(root / "images" / place)
    (record,), _ = read_all(reader("refcoco", root))
    assert record.image == place


BROKEN = {
    "no sentences": (ref(6, 11, None), NO_TEXT),
    "an empty list of sentences": (ref(6, 11, []), NO_TEXT),
    "a sentence without words": (ref(6, 11, ["  "]), NO_TEXT),
    "a sentence that is a number": (ref(6, 11, [7]), MALFORMED),
    "a sentence that holds a region": (ref(6, 11, ["<region1>"]), MALFORMED),
    "no such region": (ref(6, 99, ["a cat"]), MALFORMED),
    "a region that is a list": (ref(6, [1], ["a cat"]), MALFORMED),
    "no such image": (ref(6, 11, ["a cat"], image_id=99), MISSING_IMAGE),
    "no split": (ref(6, 11, ["a cat"], split=None), MALFORMED),
    "no region at all": ("a cat", MALFORMED),
}


@pytest.mark.parametrize(("broken", "kind"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("form", ["p", "json"])
def test_a_broken_entry_is_counted_and_the_others_stay(root: Path, form: str, broken: object, kind: str) -> None:
    (root / "refcoco" / "refs(unc).p").unlink()
    path, values = root / "refcoco" / f"refs(unc).{form}", [broken, *refs()]
    (write_pickle if form == "p" else write_json)(path, values)
    (record,), troubles = read_all(reader("refcoco", root))
    assert kind in kinds(troubles)
    assert answers(record) == EXPECTED


BROKEN_BOXES = {
    "outside": ([50, 5, 30, 10], BOX_OUTSIDE),
    "no area": ([5, 5, 0, 10], BOX_EMPTY),
    "none": (None, MALFORMED),
}


@pytest.mark.parametrize(("bbox", "kind"), BROKEN_BOXES.values(), ids=BROKEN_BOXES)
def test_a_broken_box_is_counted_in_both_layouts(root: Path, bbox: object, kind: str) -> None:
    values = instances()
    values["annotations"][0]["bbox"] = bbox
    write_json(root / "refcoco" / "instances.json", values)
    (record,), troubles = read_all(reader("refcoco", root))
    assert kinds(troubles) == [kind] and len(record.turns) == 1

    captions = mdetr()
    captions["annotations"][0]["bbox"] = captions["annotations"][1]["bbox"] = bbox
    write_json(root / "finetune_refcoco_train.json", captions)
    (record,), troubles = read_all(reader("refcoco", root))
    assert kinds(troubles) == [kind] and len(record.turns) == 1


def test_broken_entries_of_mdetr_are_counted(root: Path) -> None:
    values = mdetr()
    values["images"][0]["caption"] = None
    values["annotations"][1]["image_id"] = 99  # leaves "man left" without a region
    values["images"].append({"id": 7})
    values["images"].append(8)
    write_json(root / "finetune_refcoco_train.json", values)
    (record,), troubles = read_all(reader("refcoco", root))
    assert sorted(kinds(troubles)) == sorted([MISSING_IMAGE, MALFORMED, MALFORMED, MALFORMED, NO_TEXT])
    assert answers(record) == {(40, 10, 55, 30): {"the dog", "a brown dog on the right"}}


def test_an_image_that_is_missing_or_of_another_size_is_counted(root: Path) -> None:
    picture(root / "images" / IMAGE, (40, 60))
    assert kinds(read_all(reader("refcoco", root))[1]) == [IMAGE_SIZE]
    (root / "images" / IMAGE).unlink()
    records, troubles = read_all(reader("refcoco", root))
    assert (records, kinds(troubles)) == ([], [MISSING_IMAGE])
    assert IMAGE in troubles[0].problem


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it-ran"),))


FORBIDDEN = {"code": _Runs(), "a class of the standard library": OrderedDict(a=1), "a path": Path("a"), "a set": {1}}


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("value", FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_pickle_that_names_a_class_is_refused_and_runs_nothing(
    root: Path, value: object, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    write_pickle(root / "refcoco" / "refs(unc).p", [value], protocol)
    with pytest.raises(RecordInvalid, match=r"could run code"):
        reader("refcoco", root)
    assert not (root / "it-ran").exists()


WHOLE = pickle.dumps(refs(), 2)
DAMAGED = {
    "empty": b"",
    "cut short": WHOLE[:-30],
    "one byte": b"\x80",
    "text": b"refs",
    "json": json.dumps(refs()).encode(),
    "a huge length": b"\x80\x04\x8e" + b"\xff" * 8,
    "a huge memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "an empty stack": b"\x80\x02.",
    "no such code": b"\x80\x02\xff.",
    "built into a list": b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_pickle_is_refused_by_its_name(root: Path, data: bytes) -> None:
    (root / "refcoco" / "refs(unc).p").write_bytes(data)
    with pytest.raises(RecordInvalid, match=r"refs\(unc\)\.p: "):
        reader("refcoco", root)


def test_a_pickle_cut_anywhere_is_refused(root: Path) -> None:
    for length in range(0, len(WHOLE), 7):
        (root / "refcoco" / "refs(unc).p").write_bytes(WHOLE[:length])
        with pytest.raises(RecordInvalid):
            reader("refcoco", root)


@pytest.mark.parametrize("value", [{}, "refs", 7, None])
def test_a_file_that_is_no_list_of_regions_is_refused(root: Path, value: object) -> None:
    write_pickle(root / "refcoco" / "refs(unc).p", value)
    with pytest.raises(RecordInvalid, match="not a list of regions"):
        reader("refcoco", root)


def test_instances_that_are_not_there_or_cut_short_are_refused(root: Path) -> None:
    path = root / "refcoco" / "instances.json"
    path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    with pytest.raises(RecordInvalid, match=r"instances\.json: this is not JSON"):
        reader("refcoco", root)
    path.unlink()
    with pytest.raises(DataNotFound, match=r"instances\.json"):
        reader("refcoco", root)
