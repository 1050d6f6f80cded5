"""Records: their JSON form, their two kinds of file, and what a broken one is told."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roi_agent.model.boxes import Box
from roi_agent.model.conversation import Turn
from roi_agent.model.data.record import Evidence, Record, RecordTurn
from roi_agent.model.data.record_files import CARD, Card, open_records, read_records, write_records
from roi_agent.model.errors import DataNotFound, ImageUnreadable, RecordInvalid
from roi_agent.model.masks import Mask
from roi_agent.model.regions import Region
from tests.public_data import Json, picture

WIDTH, HEIGHT = 64, 48
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[3:9, 5:30] = True


def record(id: str = "boxes/7", **more: Any) -> Record:
    values: dict[str, Any] = {
        "image": "cats/7.jpg",
        "size_wh": (WIDTH, HEIGHT),
        "regions": (
            Region("region1", Box(1.5, 2, 30, 40), label="cat", score=0.75, mask=Mask.from_array(MASK)),
            Region("region2", Box(0, 0, WIDTH, HEIGHT)),
        ),
        "turns": (
            RecordTurn("What is <region1>?", "a cat", options=("a cat", "a dog"), references=("a cat", "a kitten")),
            RecordTurn("And <region2>?", "the room of <region1>"),
        ),
        "source": "my boxes",
        "licence": "CC0-1.0",
        "evidence": (Evidence("geometry", "region1 lies within region2", 1.0), Evidence("choose", "a cat")),
    }
    return Record(id, **(values | more))


# Strategies. Texts are without white space at their ends, as every file gives them back.

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=20).map(str.strip).filter(bool)
NUMBERS = st.floats(0, 1, exclude_max=True)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x1, y1 = draw(NUMBERS) * (WIDTH - 1), draw(NUMBERS) * (HEIGHT - 1)
    return Box(x1, y1, min(WIDTH, x1 + 0.5 + draw(NUMBERS) * WIDTH), min(HEIGHT, y1 + 0.5 + draw(NUMBERS) * HEIGHT))


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    corners = st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1))
    array = np.zeros((HEIGHT, WIDTH), bool)
    for y, x in draw(st.lists(corners, min_size=1, max_size=6)):
        array[y : y + 4, x : x + 7] = True
    return Mask.from_array(array)


@st.composite
def records(draw: st.DrawFn) -> Record:
    count = draw(st.integers(0, 3))
    looks = st.tuples(boxes(), st.none() | TEXTS, st.none() | st.floats(-1e6, 1e6), st.none() | masks())
    regions = []
    for number in range(1, count + 1):
        box, label, score, mask = draw(looks)
        kept = mask if mask and mask.meets(box) else None  # a mask off its box is refused
        regions.append(Region(f"region{number}", box, label=label, score=score, mask=kept))
    mentions = st.sampled_from([f"<{region.name}>" for region in regions] or ["it"])
    turns = []
    for _ in range(draw(st.integers(1, 3))):
        answer = draw(TEXTS)
        others = draw(st.lists(TEXTS, max_size=2))
        with_answer = (answer, *(each for each in others if each != answer))
        options, references = (with_answer if draw(st.booleans()) else () for _ in range(2))
        turns.append(RecordTurn(f"{draw(TEXTS)} {draw(mentions)}", answer, options, references))
    evidence = [Evidence(draw(TEXTS), draw(TEXTS), draw(st.none() | st.floats(0, 1))) for _ in range(draw(st.integers(0, 2)))]
    id, image, source, licence = (draw(TEXTS) for _ in range(4))
    return Record(id, image, (WIDTH, HEIGHT), tuple(regions), tuple(turns), source, licence, tuple(evidence))


@settings(max_examples=60)
@given(records())
def test_a_record_comes_back_from_its_json_form(given_record: Record) -> None:
    line = json.dumps(given_record.to_dict(), ensure_ascii=False)
    assert Record.from_dict(json.loads(line), where="a line") == given_record


@settings(deadline=None, max_examples=30)
@given(st.lists(records(), max_size=4))
def test_records_come_back_equal_from_both_kinds_of_file(tmp_path_factory: pytest.TempPathFactory, several: list[Record]) -> None:
    folder = tmp_path_factory.mktemp("records")
    for name in ("a.jsonl", "a.parquet"):
        assert write_records(folder / name, several) == len(several)
        assert list(read_records(folder / name)) == several
        assert [path.name for path in folder.iterdir() if path.name.endswith(".part")] == []


def test_a_field_that_is_not_needed_may_be_left_out() -> None:
    least = {"id": "a", "image": "a.png", "width": 2, "height": 1, "regions": [], "source": "s", "licence": "l"}
    found = Record.from_dict(least | {"turns": [{"question": "q", "answer": "a"}]}, where="a line")
    assert found == Record("a", "a.png", (2, 1), (), (RecordTurn("q", "a"),), "s", "l")
    assert found.to_dict() == least | {"turns": [{"question": "q", "answer": "a"}]}


def test_white_space_around_a_text_is_no_part_of_it() -> None:
    wire = record().to_dict()
    wire["turns"][1]["answer"] = "  the room \n"
    assert Record.from_dict(wire, where="a line").turns[1].answer == "the room"


def test_a_conversation_is_what_a_model_reads() -> None:
    assert record().conversation() == (Turn("What is <region1>?", "a cat"), Turn("And <region2>?", "the room of <region1>"))


Change = Callable[[Json], object]


def put(*path: str | int, value: object) -> Change:
    """A change that puts a value at a place."""

    def change(wire: Json) -> None:
        place: Any = wire
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(key: str) -> Change:
    return lambda wire: wire.pop(key)


BROKEN: dict[str, tuple[Change, str]] = {
    "no id": (drop("id"), "id: field required; see"),
    "an id without letters": (put("id", value=" "), "id: string should have at least 1 character"),
    "an id that is a number": (put("id", value=7), "id: input should be a valid string, and it is 7"),
    "no image": (drop("image"), "image: field required"),
    "no width": (drop("width"), "width: field required"),
    "a width of nothing": (put("width", value=0), "width: input should be greater than or equal to 1, and it is 0"),
    "a width as text": (put("width", value="64"), "width: input should be a valid integer, and it is '64'"),
    "half a pixel": (put("height", value=48.5), "height: input should be a valid integer"),
    "no regions": (drop("regions"), "regions: field required"),
    "regions as a mapping": (put("regions", value={}), "regions: input should be a valid list"),
    "no turns": (drop("turns"), "turns: field required"),
    "an empty list of turns": (put("turns", value=[]), "turns: list should have at least 1 item"),
    "a turn without an answer": (put("turns", 1, value={"question": "q"}), r"turns\[1\]\.answer: field required"),
    "an empty question": (put("turns", 0, "question", value=""), r"turns\[0\]\.question: string should have at least 1"),
    "an answer that is a number": (put("turns", 0, "answer", value=3), r"turns\[0\]\.answer: input should be a valid string"),
    "a region that is not there": (put("turns", 1, "question", value="<region9>?"), r"turns\[1\]\.question: there is no region9"),
    "one in an answer": (put("turns", 1, "answer", value="<region9>"), r"turns\[1\]\.answer: there is no region9"),
    "an answer that was not offered": (put("turns", 0, "options", value=["a dog"]), r"turns\[0\]\.options: the answer 'a cat'"),
    "an answer offered twice": (put("turns", 0, "options", value=["a cat", "a cat"]), r"turns\[0\]\.options: .* 2 times"),
    "references without the answer": (put("turns", 0, "references", value=["x"]), r"turns\[0\]\.references: the answer"),
    "an option that is a number": (put("turns", 0, "options", value=["a cat", 1]), r"turns\[0\]\.options\[1\]: input should"),
    "an unknown field": (put("colour", value="red"), "colour: extra inputs are not permitted, and it is 'red'"),
    "an unknown field of a turn": (put("turns", 0, "why", value="x"), r"turns\[0\]\.why: extra inputs"),
    "an unknown field of a region": (put("regions", 0, "colour", value="x"), r"regions\[0\]\.colour: extra inputs"),
    "a region without a box": (put("regions", 0, value={"name": "region1"}), r"regions\[0\]\.box: field required"),
    "a region without a name": (put("regions", 0, value={"box": [1, 2, 3, 4]}), r"regions\[0\]\.name: field required"),
    "a region of another name": (put("regions", 0, "name", value="cat"), "regions: a region is named 'cat'"),
    "a name given twice": (put("regions", 1, "name", value="region1"), "regions: 2 items are called region1"),
    "a box of three numbers": (put("regions", 0, "box", value=[1, 2, 3]), "regions: region1: a box is given as"),
    "a box outside": (put("regions", 0, "box", value=[1, 2, 65, 4]), "regions: region1: x2 is 65 in an image 64 wide"),
    "a box without area": (put("regions", 0, "box", value=[5, 2, 5, 4]), "regions: region1: .*no area"),
    "a box with NaN": (
        put("regions", 0, "box", value=[float("nan"), 2, 5, 4]),
        r"regions\[0\]\.box\[0\]: input should be a finite",
    ),
    "a box of text": (put("regions", 0, "box", value="1,2,3,4"), r"regions\[0\]\.box: input should be a valid list"),
    "a mask of another image": (
        put("regions", 0, "mask", value={"size": [1, 2], "counts": [0, 2]}),
        "regions: region1: the mask is",
    ),
    "a mask without counts": (put("regions", 0, "mask", value={"size": [48, 64]}), r"regions\[0\]\.mask\.counts"),
    "a mask that cannot be read": (put("regions", 0, "mask", "counts", value="~~"), "regions: region1: .*mask"),
    "evidence without a kind": (put("evidence", value=[{"text": "x"}]), r"evidence\[0\]\.kind: field required"),
    "no source": (drop("source"), "source: field required"),
    "no licence": (drop("licence"), "licence: field required"),
    "an empty licence": (put("licence", value=""), "licence: string should have at least 1 character"),
}


@pytest.mark.parametrize(("change", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_by_file_line_and_field(tmp_path: Path, change: Change, problem: str) -> None:
    wire = record().to_dict()
    change(wire)
    lines = [json.dumps(record("first").to_dict()), json.dumps(wire), json.dumps(record("last").to_dict())]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    reading = read_records(path)
    assert next(reading).id == "first"
    with pytest.raises(RecordInvalid, match=rf"^record_invalid: mine\.jsonl, line 2: {problem}"):
        next(reading)


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

    from roi_agent.model.data.record_files import record_features

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


def test_a_record_without_a_turn_or_with_an_unknown_region_cannot_be_made() -> None:
    with pytest.raises(RecordInvalid, match="turns: there are none"):
        replace(record(), turns=())
    with pytest.raises(RecordInvalid, match="there is no region2"):
        replace(record(), regions=record().regions[:1])
    with pytest.raises(RecordInvalid, match="the text is empty"):
        replace(record(), turns=(RecordTurn("What?", " "),))


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
def test_a_stream_goes_on_at_the_very_next_record(tmp_path: Path, form: str, seed: int | None, shards: int) -> None:
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
    with pytest.raises(DataNotFound, match="no folder of images"):
        open_records(folder, images=tmp_path / "nowhere")


def test_an_image_that_is_not_there_or_of_another_size_is_a_coded_error(folder: Path) -> None:
    found = open_records(folder)
    with pytest.raises(ImageUnreadable):
        found.image(replace(record(), image="cats/8.jpg"))
    picture(folder / "pictures" / "cats" / "7.jpg", (HEIGHT, WIDTH))
    with pytest.raises(RecordInvalid, match=r"boxes/7: the record says 64 x 48 pixels, and cats/7\.jpg has 48 x 64"):
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
    with pytest.raises(DataNotFound, match="damaged or newer"):
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


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def failing() -> Sequence[Record]:
        raise RuntimeError("the reader fails")

    path = numbered(tmp_path / "a.jsonl", 2)
    for name in ("a.jsonl", "a.parquet"):
        with pytest.raises(RuntimeError):
            write_records(tmp_path / name, (each for _ in range(1) for each in failing()))
    assert [each.id for each in read_records(path)] == ["boxes/0", "boxes/1"]
    assert not (tmp_path / "a.parquet").exists()
