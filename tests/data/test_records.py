"""Records: their JSON form, what comes back from files, and what a broken one is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roi_agent.model.data.record import Evidence, Record, RecordTurn
from roi_agent.model.data.record_files import read_records, write_records
from roi_agent.model.errors import RecordInvalid
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn
from tests.public_data import Json
from tests.whole_record import HEIGHT, WIDTH, record

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
        kept = mask if mask and mask.intersects(box) else None  # a mask off its box is refused
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
    "an id that is a number": (put("id", value=7), "id: input should be a valid string, given 7"),
    "no image": (drop("image"), "image: field required"),
    "no width": (drop("width"), "width: field required"),
    "a width of nothing": (put("width", value=0), "width: input should be greater than or equal to 1, given 0"),
    "a width as text": (put("width", value="64"), "width: input should be a valid integer, given '64'"),
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
    "an unknown field": (put("colour", value="red"), "colour: extra inputs are not permitted, given 'red'"),
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


def test_a_record_without_a_turn_or_with_an_unknown_region_cannot_be_made() -> None:
    with pytest.raises(RecordInvalid, match="turns: there are none"):
        replace(record(), turns=())
    with pytest.raises(RecordInvalid, match="there is no region2"):
        replace(record(), regions=record().regions[:1])
    with pytest.raises(RecordInvalid, match="the text is empty"):
        replace(record(), turns=(RecordTurn("What?", " "),))
