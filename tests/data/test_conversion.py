"""From a public data set to a folder of records: what it holds, whole and shared by processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from roi_agent.model.data.conversion import TROUBLES, convert
from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.base import Trouble
from roi_agent.model.data.readers.coco import CocoInstances
from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import CARD, RecordSet
from roi_agent.model.errors import DataNotFound, InvalidSetting, RoiAgentError, all_errors
from tests.conversions import COUNT, coco, converted, make_data, settings
from tests.public_data import Json, picture, write_json


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def test_a_folder_holds_records_troubles_and_a_card(root: Path, tmp_path: Path) -> None:
    found = converted(root, tmp_path / "out", settings())
    assert set(found) == {CARD, TROUBLES, *(f"records-{number:05d}.jsonl" for number in range(9))}
    records = RecordSet(tmp_path / "out")
    assert records.card is not None
    assert (records.card.name, records.card.records, records.card.source) == ("coco all", COUNT - 1, "COCO")
    assert records.card.troubles == {"box_outside": 6, "missing_image": 2}
    troubles = [json.loads(line) for line in found[TROUBLES].splitlines()]
    assert len(troubles) == 8
    assert {frozenset(each) for each in troubles} == {frozenset({"kind", "where", "problem"})}
    assert [record.id for record in records] == [f"coco/all/{id}" for id in range(COUNT) if id != 33]
    assert records.image(next(iter(records))).size_wh == (60, 40)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_several_processes_write_the_same_files_as_one(root: Path, tmp_path: Path, form: str) -> None:
    alone = converted(root, tmp_path / "one", settings(form))
    assert converted(root, tmp_path / "two", settings(form, processes=2)) == alone
    assert converted(root, tmp_path / "five", settings(form, processes=5)) == alone


def test_both_forms_and_every_size_of_part_hold_the_same_records(root: Path, tmp_path: Path) -> None:
    expected = [f"coco/all/{id}" for id in range(COUNT) if id != 33]
    found = []
    for index, chosen in enumerate((settings(), settings("parquet"), settings(groups=1), settings("parquet", groups=1000))):
        converted(root, tmp_path / str(index), chosen)
        found.append(list(RecordSet(tmp_path / str(index))))
    assert all(records == found[0] for records in found)
    assert [record.id for record in found[0]] == expected


def test_the_seed_chooses_the_wordings(root: Path, tmp_path: Path) -> None:
    first = converted(root, tmp_path / "a", settings())
    assert converted(root, tmp_path / "b", settings()) == first
    assert converted(root, tmp_path / "c", settings(seed=1)) != first


def test_a_limit_reads_the_first_groups_only(root: Path, tmp_path: Path) -> None:
    converted(root, tmp_path / "out", settings(limit=5))
    assert [record.id for record in RecordSet(tmp_path / "out")] == [f"coco/all/{id}" for id in range(5)]


def test_a_data_set_without_a_record_is_an_empty_folder_that_opens(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "0.jpg")
    write_json(tmp_path / "instances_all.json", {"images": [], "annotations": [], "categories": []})
    card = convert(coco(tmp_path), tmp_path / "out", settings(), show_progress=False)
    assert card.records == 0
    records = RecordSet(tmp_path / "out")
    assert list(records) == []
    assert len(records.dataset()) == 0
    with pytest.raises(DataNotFound, match="no records in 'coco all'"):
        records.stream(seed=0)


class _Odd(CocoInstances):
    """Its troubles hold what breaks lines and what is no text."""

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        yield Trouble("malformed", "a\u2028b\x85c", "half a letter: \ud800")
        yield from super().read(group, rng)


def test_troubles_of_any_text_are_written(root: Path, tmp_path: Path) -> None:
    convert(coco(root, _Odd), tmp_path / "out", settings(limit=2), show_progress=False)
    lines = (tmp_path / "out" / TROUBLES).read_bytes().splitlines()
    odd = [json.loads(line) for line in lines if b"half a letter" in line]
    assert len(odd) == 2 and odd[0]["where"] == "a\u2028b\x85c"


WRONG = [{"form": "csv"}, {"processes": 0}, {"groups": 0}, {"limit": 0}, {"limit": -1}]


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_settings_check_themselves(values: Json) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(values))):
        settings(**values)


def test_every_reader_has_a_name_of_its_own_and_says_what_it_reads() -> None:
    assert all(kind.name == name for name, kind in READERS.items())
    for kind in READERS.values():
        assert kind.about and kind.layout and kind.source and kind.licence and kind.splits


@pytest.mark.parametrize("kind", all_errors().values(), ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_in_another_process(kind: type[RoiAgentError]) -> None:
    import pickle

    error = pickle.loads(pickle.dumps(kind("a problem", do="mend it")))
    assert (type(error), str(error)) == (kind, f"{kind.code}: a problem; mend it")
