"""Whatever stands in a data set's files: records, troubles and coded errors come out, and nothing else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from roi_agent.model.data.conversion import ConversionSettings, convert
from roi_agent.model.data.readers import READERS
from roi_agent.model.data.record_files import RecordSet
from roi_agent.model.errors import UserError
from roi_agent.model.toy.layouts import LAYOUTS
from tests.data import test_reader_flickr30k as flickr30k
from tests.data import test_reader_refcoco as refcoco
from tests.public_data import picture, read_all, write_json

JUNK: list[Any] = [
    *(None, True, False, 0, -1, 3, 10**30, 10**400, 1e308, float("nan"), float("inf"), 0.5),
    *("", " ", "9", "a\u2028b", "\ud800", "<region1>", "../../x", "/etc/hostname", "a" * 5000, "\0"),
    *([], [[]], [1, 2, 3, 4], [0, 0, 5, 5], ["a"], {}, {"id": 1}, {"size": [1, 1], "counts": "0"}, [[1, 2, 3, 4, 5, 6]]),
]


def spoiled(value: Any, rng: Random, share: float) -> Any:
    """The value with some of its parts replaced, taken away or given twice."""
    if rng.random() < share:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        return {key: spoiled(each, rng, share) for key, each in value.items() if rng.random() >= share}
    if isinstance(value, list):
        return [spoiled(each, rng, share) for each in value for _ in range(2 if rng.random() < share else 1)]
    return value


def write_mdetr_of_refcoco(root: Path) -> None:
    picture(root / "images" / refcoco.IMAGE)
    write_json(root / "finetune_refcoco_train.json", refcoco.mdetr())


def write_json_of_refcoco(root: Path) -> None:
    picture(root / "images" / refcoco.IMAGE)
    write_json(root / "refs(unc).json", refcoco.refs())
    write_json(root / "instances.json", refcoco.instances())


def write_mdetr_of_flickr30k(root: Path) -> None:
    picture(root / "images" / f"{flickr30k.ID}.jpg")
    write_json(root / "final_flickr_separateGT_train.json", flickr30k.mdetr())


def scenes(name: str) -> Callable[[Path], None]:
    return lambda root: LAYOUTS[name](root, [1_000_000, 1_000_001], 64)


SETS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "coco": ("coco", "train2017", scenes("coco")),
    "visual genome": ("visual-genome", "train", scenes("visual-genome")),
    "refcoco of mdetr": ("refcoco", "train", write_mdetr_of_refcoco),
    "refcoco of refer": ("refcoco", "train", write_json_of_refcoco),
    "flickr30k of mdetr": ("flickr30k", "train", write_mdetr_of_flickr30k),
}


def json_files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*.json")) if "val" not in path.name)


@pytest.mark.parametrize("case", SETS)
def test_spoiled_json_gives_records_troubles_and_coded_errors_only(tmp_path: Path, case: str) -> None:
    name, split, write = SETS[case]
    write(tmp_path)
    whole = {path: json.loads(path.read_text(encoding="utf-8")) for path in json_files(tmp_path)}
    seen = {"records": 0, "troubles": 0, "errors": 0}
    for seed in range(150):
        rng = Random(seed)
        for path, value in whole.items():
            write_json(path, spoiled(value, rng, rng.choice((0, 0.002, 0.02, 0.1))))
        try:
            made = READERS[name](tmp_path, images=tmp_path / "images", split=split)
            records, troubles = read_all(made, seed)
        except UserError:
            seen["errors"] += 1
            continue
        seen["records"] += len(records)
        seen["troubles"] += len(troubles)
    assert all(seen.values()), seen


def test_spoiled_letters_of_flickr30k_give_records_and_troubles_only(tmp_path: Path) -> None:
    LAYOUTS["flickr30k"](tmp_path, [1_000_000, 1_000_001], 64)
    paths = [*(tmp_path / "Annotations").iterdir(), *(tmp_path / "Sentences").iterdir()]
    whole = {path: path.read_bytes() for path in paths}
    kinds = set()
    for seed in range(150):
        rng = Random(seed)
        for path, data in whole.items():
            letters = bytearray(data)
            for _ in range(rng.choice((0, 1, 3))):
                start = rng.randrange(len(letters))
                letters[start : start + rng.randrange(4)] = bytes(rng.choices(b'<>[]/#&0919 "\xe1\n', k=rng.randrange(4)))
            path.write_bytes(letters)
        _, troubles = read_all(READERS["flickr30k"](tmp_path, images=tmp_path / "images", split="train"), seed)
        kinds |= {each.kind for each in troubles}
    assert len(kinds) >= 4, kinds


@pytest.mark.parametrize("case", SETS)
def test_what_a_spoiled_data_set_gives_is_written_and_read_back(tmp_path: Path, case: str) -> None:
    name, split, write = SETS[case]
    root = tmp_path / "data"
    write(root)
    rng = Random(1)
    for path in json_files(root):
        write_json(path, spoiled(json.loads(path.read_text(encoding="utf-8")), rng, 0.01))
    made = READERS[name](root, images=root / "images", split=split)
    expected, troubles = read_all(made)
    for form in ("jsonl", "parquet"):
        card = convert(made, tmp_path / form, ConversionSettings(format=form), show_progress=False)
        assert (card.records, sum(card.troubles.values())) == (len(expected), len(troubles))
        assert [each.id for each in RecordSet(tmp_path / form)] == [each.id for each in expected]
