"""Files of strangers: whatever one value in them becomes, a reader gives records, troubles or a coded error, and nothing else."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roi_agent.model.data.readers import READERS
from roi_agent.model.data.record import Record
from roi_agent.model.errors import UserError
from tests.data import test_reader_boxes as boxes
from tests.data import test_reader_llava as llava
from tests.data import test_reader_vcr as vcr
from tests.data import test_reader_visual7w as visual7w
from tests.public_data import picture, read_all

FORMS: dict[str, dict[str, Any]] = {
    "vcr": {"train.jsonl": [vcr.LINE], "images/lsmdc_1_A/1_A_00@0.json": vcr.METADATA},
    "vcr-qar": {"train.jsonl": [vcr.LINE], "images/lsmdc_1_A/1_A_00@0.json": vcr.METADATA},
    "visual7w-telling": {
        "dataset_v7w_telling.json": {"images": [{"filename": "v7w_1.jpg", "split": "train", "qa_pairs": [visual7w.TOLD]}]}
    },
    "visual7w-pointing": {
        "dataset_v7w_pointing.json": {
            "images": [{"filename": "v7w_1.jpg", "split": "train", "qa_pairs": [visual7w.POINTED]}],
            "boxes": visual7w.BOXES,
        }
    },
    "llava-instruct": {
        "llava_instruct_150k.json": [llava.SAMPLE] * 2,
        "detections.json": {"000000000001.jpg": [llava.BUS, llava.CLOCK], "2.jpg": [llava.BUS | {"label": "zebra"}]},
    },
    "boxes-json": {
        "boxes.json": {
            "images": [{"id": 1, "file_name": "v7w_1.jpg", "width": 100, "height": 80}],
            "categories": [{"id": 3, "name": "dog"}],
            "annotations": [boxes.BOX | {"category_id": 3, "segmentation": [[1, 2, 30, 4, 5, 60]]}, boxes.BOX | {"caption": "a"}],
        }
    },
}

ODD = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", " ", "\ud800", "<region1>", [], {}, [[]]]
    ),
    st.integers(-300, 300),
    st.floats(-300, 300),
    st.text(max_size=5),
    st.lists(st.integers(-2, 5) | st.text(max_size=2), max_size=5),
    st.dictionaries(st.sampled_from(["box", "label", "id"]), st.integers(0, 9), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def put(whole: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(whole)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = value if path.suffix == ".jsonl" and isinstance(value, list) else [value]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzzed")
    for name in FORMS:
        for image in ("lsmdc_1_A/1_A_00@0.jpg", "v7w_1.jpg", "000000000001.jpg"):
            picture(made / name / "images" / image, (100, 80))
    return made


def survives(name: str, root: Path) -> int:
    """The number of records; each can be written and read back."""
    try:
        records, troubles = read_all(READERS[name](root, images=root / "images", split="train"))
    except UserError as error:
        assert error.problem
        return 0
    assert all(each.problem and each.where for each in troubles)
    for record in records:
        written = json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False).encode()
        assert Record.from_dict(json.loads(written), where="here").turns == record.turns
    return len(records)


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere(folder: Path, name: str, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(FORMS[name])))
    path = data.draw(st.sampled_from(list(places(FORMS[name][file]))))
    for each, value in FORMS[name].items():
        write(folder / name / each, put(value, path, data.draw(ODD)) if each == file else value)
    survives(name, folder / name)


@pytest.mark.parametrize("name", FORMS)
def test_whole_files_give_records(folder: Path, name: str) -> None:
    for each, value in FORMS[name].items():
        write(folder / name / each, value)
    assert survives(name, folder / name)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.sampled_from(["v7w_1.jpg", "1", "20", "-5", "nan", "1e999", "", '"', "a\x00", "é"]), max_size=8))
)
def test_any_table(folder: Path, rows: list[list[str]]) -> None:
    root = folder / "boxes-json"
    lines = ["image,x1,y1,x2,y2,text,format", *map(",".join, rows)]
    (root / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    survives("boxes-csv", root)
