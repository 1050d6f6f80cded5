"""Files and folders of records: tables, streams, cards, images, and what a damaged file is told."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import CARD, Card, open_records, read_records, write_records
from roi_agent.model.errors import DataNotFound, ImageUnreadable, RecordInvalid
from tests.public_data import picture
from tests.whole_record import HEIGHT, WIDTH, record

# -- damaged files


@pytest.mark.parametrize("name", ["../outside.png", "{}/outside.png", "a/../../outside.png"])
def test_the_image_of_a_record_does_not_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    picture(tmp_path / "outside.png", (WIDTH, HEIGHT))
    outside = replace(record(), image=name.format(tmp_path))
    write_records(tmp_path / "set" / "mine.jsonl", [outside])
    with pytest.raises(RecordInvalid, match="is not below the folder of images"):
        open_records(tmp_path / "set" / "mine.jsonl").image(outside)


def test_the_image_of_a_record_is_found_under_the_name_of_another_system(tmp_path: Path) -> None:
    file = picture(tmp_path / "cats" / "my photo.png", (WIDTH, HEIGHT))
    for name in ("cats/my photo.png", "cats\\my photo.png", "cats/my%20photo.png"):
        named = replace(record(), image=name)
        write_records(tmp_path / "mine.jsonl", [named])
        records = open_records(tmp_path / "mine.jsonl")
        assert records.image(named).size_wh == (WIDTH, HEIGHT)
        assert records.has_image(named) and records.image_path(named) == file


NO_JSON = {
    "cut short": b'{"id": "a"',
    "empty": b"",
    "letters": b"record",
    "not UTF-8": b'{"id": "\xff"}',
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("line", NO_JSON.values(), ids=NO_JSON)
def test_a_line_that_is_no_json_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(json.dumps(record().to_dict()).encode() + b"\n" + line + b"\n")
    with pytest.raises(RecordInvalid, match=r"mine\.jsonl, line 2: this is not JSON"):
        list(read_records(path))


@pytest.mark.parametrize("value", [None, [], "record", 7])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, value: object) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RecordInvalid, match=r"mine\.jsonl, line 1: the line"):
        list(read_records(path))


def test_a_broken_row_of_parquet_is_named_by_file_row_and_field(tmp_path: Path) -> None:
    import pyarrow.parquet

    from roi_agent.model.data.record_tables import record_features

    rows = [record(str(id)).to_dict() for id in range(300)]
    rows[270]["regions"][0]["box"] = [1.0, 2.0, 99.0, 4.0]
    table = pyarrow.Table.from_pylist(rows, record_features().arrow_schema)
    pyarrow.parquet.write_table(table, tmp_path / "mine.parquet")
    with pytest.raises(RecordInvalid, match=r"mine\.parquet, row 271: regions: region1: x2 is 99"):
        list(read_records(tmp_path / "mine.parquet"))


def test_a_parquet_file_that_is_damaged_or_of_something_else_is_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "mine.parquet"
    write_records(path, [record(str(id)) for id in range(50)])
    whole = path.read_bytes()
    for damaged in (whole[:-50], whole[:100] + b"\0" * 400 + whole[500:], b"", b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(RecordInvalid, match=r"mine\.parquet"):
            list(read_records(path))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), path)
    with pytest.raises(RecordInvalid, match=r"mine\.parquet, row 1: "):
        list(read_records(path))


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def failing() -> Sequence[Record]:
        raise RuntimeError("the reader fails")

    path = numbered(tmp_path / "a.jsonl", 2)
    for name in ("a.jsonl", "a.parquet"):
        with pytest.raises(RuntimeError):
            write_records(tmp_path / name, (each for _ in range(1) for each in failing()))
    assert [each.id for each in read_records(path)] == ["boxes/0", "boxes/1"]
    assert not (tmp_path / "a.parquet").exists()


# -- tables and streams


def numbered(path: Path, count: int) -> Path:
    write_records(path, (record(f"boxes/{id}") for id in range(count)))
    return path


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_table_holds_the_records_and_is_read_at_any_place(tmp_path: Path, form: str) -> None:
    found = open_records(numbered(tmp_path / f"a.{form}", 40))
    table = found.dataset()
    assert len(table) == 40
    assert Record.from_dict(table[17], where="row") == record("boxes/17")
    assert [Record.from_dict(row, where="row") for row in table] == list(found)


def test_a_table_of_a_file_that_has_changed_is_made_again(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.jsonl", 3)
    assert len(open_records(path).dataset()) == 3
    numbered(path, 5)
    assert len(open_records(path).dataset()) == 5


def test_a_table_of_a_broken_file_is_a_coded_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record().to_dict()) + "\n{}\n", encoding="utf-8")
    with pytest.raises(RecordInvalid, match=r"mine\.jsonl, line 2: "):
        open_records(path).dataset()


STREAMS = [("jsonl", None, 1), ("jsonl", 0, 1), ("jsonl", 7, 4), ("jsonl", 7, 100), ("parquet", None, 4), ("parquet", 7, 1)]


@pytest.mark.parametrize(("form", "seed", "shards"), STREAMS)
def test_a_stream_continues_at_the_very_next_record(tmp_path: Path, form: str, seed: int | None, shards: int) -> None:
    found = open_records(numbered(tmp_path / f"a.{form}", 12))
    whole = ids(found.stream(seed=seed, shards=shards))
    assert sorted(whole) == sorted(f"boxes/{id}" for id in range(12))
    assert (whole == [f"boxes/{id}" for id in range(12)]) == (seed is None)
    for stop in (0, 1, 7, 11):
        first = found.stream(seed=seed, shards=shards)
        reading = iter(first)
        before = [next(reading)["id"] for _ in range(stop)]
        state = json.loads(json.dumps(first.state_dict()))  # as a checkpoint keeps it
        second = found.stream(seed=seed, shards=shards)
        second.load_state_dict(state)
        assert before + ids(second) == whole


def ids(rows: Any) -> list[str]:
    return [row["id"] for row in rows]


def test_another_seed_is_another_order(tmp_path: Path) -> None:
    found = open_records(numbered(tmp_path / "a.jsonl", 30))
    assert ids(found.stream(seed=1)) == ids(found.stream(seed=1)) != ids(found.stream(seed=2))


# -- folders


def card(**more: Any) -> Card:
    values: dict[str, Any] = {"name": "mine train", "images": "pictures", "records": 2, "source": "mine", "licence": "CC0-1.0"}
    return Card(**(values | more))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts of records, and pictures in a folder beside them."""
    picture(tmp_path / "pictures" / "cats" / "7.jpg", (WIDTH, HEIGHT))
    write_records(tmp_path / "records-00000.jsonl", [record("a")])
    write_records(tmp_path / "records-00001.jsonl", [record("b")])
    card().save(tmp_path)
    return tmp_path


def test_a_folder_is_read_in_the_order_of_its_parts(folder: Path) -> None:
    found = open_records(folder)
    assert [each.id for each in found] == ["a", "b"]
    assert (found.name, found.card) == ("mine train", card())
    assert found.image(record()).size_wh == (WIDTH, HEIGHT)
    assert not list(folder.glob("*.part"))


def test_images_lie_where_they_are_said_to_lie(folder: Path, tmp_path: Path) -> None:
    assert open_records(folder, images=folder / "pictures").image(record()).size_wh == (WIDTH, HEIGHT)
    with pytest.raises(DataNotFound, match=r"the folder of images .* does not exist"):
        open_records(folder, images=tmp_path / "nowhere")


def test_an_image_that_is_not_there_or_of_another_size_is_a_coded_error(folder: Path) -> None:
    found = open_records(folder)
    with pytest.raises(ImageUnreadable):
        found.image(replace(record(), image="cats/8.jpg"))
    picture(folder / "pictures" / "cats" / "7.jpg", (HEIGHT, WIDTH))
    with pytest.raises(RecordInvalid, match=r"boxes/7: the record states 64 x 48 pixels, but cats/7\.jpg has 48 x 64"):
        found.image(record())


CARDS = {
    "no JSON": "{",
    "a list": "[]",
    "a newer version": json.dumps({"version": 99}),
    "a field too few": json.dumps({"version": 1, "name": "a"}),
    "nothing": "",
}


@pytest.mark.parametrize("text", CARDS.values(), ids=CARDS)
def test_a_card_that_is_damaged_is_a_coded_error(folder: Path, text: str) -> None:
    (folder / CARD).write_text(text, encoding="utf-8")
    with pytest.raises(DataNotFound, match="damaged or of a newer version"):
        open_records(folder)


def test_a_place_without_records_is_a_coded_error(folder: Path) -> None:
    (folder / CARD).unlink()
    with pytest.raises(DataNotFound, match=r"there is no dataset\.json"):
        open_records(folder)
    with pytest.raises(DataNotFound, match="there are no records at"):
        open_records(folder / "nowhere.jsonl")
    (folder / "a.csv").write_text("id", encoding="utf-8")
    with pytest.raises(DataNotFound, match="there are no records at"):
        open_records(folder / "a.csv")
