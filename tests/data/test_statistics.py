"""What is counted of a data set, and records drawn from it."""

import json
from collections import Counter
from pathlib import Path
from statistics import median_low
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import RecordSet, read_values, write_records
from roi_agent.model.data.statistics import Spread, Statistics, count_records
from roi_agent.model.errors import RecordInvalid

ONE: dict[str, Any] = {
    "id": "1",
    "image": "a.png",
    "width": 200,
    "height": 100,
    "regions": [
        {"name": "region1", "box": [0, 0, 20, 10], "label": "cup"},
        {"name": "region2", "box": [0, 0, 200, 100], "mask": {"size": [100, 200], "counts": [0, 20000]}},
    ],
    "turns": [
        {"question": "What is <region1>?", "answer": "a blue cup"},
        {"question": "Is it full?", "answer": "no", "options": ["yes", "no"]},
    ],
    "source": "mine",
    "licence": "CC0-1.0",
}
TWO: dict[str, Any] = ONE | {"id": "2", "regions": [], "turns": [{"question": "What?", "answer": "nothing"}], "source": "yours"}


def counted(*values: Any) -> Statistics:
    return count_records((f"line {number}", value) for number, value in enumerate(values, start=1))


def test_everything_is_counted() -> None:
    found = counted(ONE, TWO, ONE | {"image": "b.png"})
    assert found.to_dict() == {
        "records": 3,
        "images": 2,
        "regions": 4,
        "masks": 2,
        "turns": 5,
        "closed_turns": 2,
        "answer_words": {"least": 1, "median": 1, "most": 3},
        "regions_per_record": {"least": 0, "median": 2, "most": 2},
        "turns_per_record": {"least": 1, "median": 2, "most": 2},
        "box_sides": {"least": 10, "median": 10, "most": 100},
        "box_sizes": {"small": 2, "medium": 0, "large": 2},
        "labels": {"cup": 2},
        "sources": {"mine": 2, "yours": 1},
        "licences": {"CC0-1.0": 3},
    }


def test_no_record_gives_noughts() -> None:
    assert counted().records == 0 and counted().answer_words == Spread(0, 0, 0)


@given(st.lists(st.integers(0, 9), min_size=1))
def test_a_spread_is_that_of_the_sorted_numbers(numbers: list[int]) -> None:
    assert Spread.of(Counter(numbers)) == Spread(min(numbers), median_low(numbers), max(numbers))


@pytest.mark.parametrize(
    ("others", "field"),
    [
        ({"regions": None}, "regions"),
        ({"turns": [{"question": "What?"}]}, "turns[0].answer"),
        ({"turns": [{"question": "What?", "answer": 5}]}, "turns[0].answer"),
        ({"width": "wide"}, "width"),
        ({"width": 0}, "width"),
        ({"source": ["mine"]}, "source"),
        ({"regions": [{"name": "region1", "box": [1, 2, 3]}]}, "regions"),
        ({"regions": [{"name": "region1", "box": [9, 2, 3, 5]}]}, "regions"),
    ],
)
def test_a_line_that_cannot_be_counted_is_named_with_its_field(others: dict[str, Any], field: str) -> None:
    with pytest.raises(RecordInvalid, match="line 2") as raised:
        counted(TWO, ONE | others)
    assert field in raised.value.problem


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_a_line_that_is_no_object_is_named(value: object) -> None:
    with pytest.raises(RecordInvalid, match="line 1"):
        counted(value)


def numbered(count: int) -> list[Record]:
    return [Record.from_dict(TWO | {"id": str(number)}, where="here") for number in range(count)]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_records_are_drawn_with_equal_chance_from_all_files(tmp_path: Path, ending: str) -> None:
    write_records(tmp_path / f"one.{ending}", numbered(300))
    records = RecordSet(tmp_path / f"one.{ending}")
    drawn = [[record.id for record in records.sample(3, seed=seed)] for seed in range(60)]
    assert all(each == sorted(each, key=int) and len(set(each)) == 3 for each in drawn)
    thirds = Counter(int(id) // 100 for each in drawn for id in each)
    assert min(thirds.values()) > 35
    assert [record.id for record in records.sample(9999)] == [str(number) for number in range(300)]
    assert drawn[0] == [record.id for record in records.sample(3, seed=0)]


def test_no_other_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(ONE)}\nthis is no JSON\n", encoding="utf-8")
    (where, value), *others = read_values(path, {0})
    assert (where, value, others) == ("records.jsonl, line 1", ONE, [])
    with pytest.raises(RecordInvalid, match="line 2: this is not JSON"):
        list(read_values(path, {1}))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_tables_and_lines_are_counted_alike(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"records.{ending}"
    write_records(path, [Record.from_dict(value, where="here") for value in (ONE, TWO)])
    assert count_records(read_values(path)) == counted(ONE, TWO)
