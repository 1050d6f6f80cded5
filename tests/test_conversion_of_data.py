"""From a public data set to a folder of records: whole, shared by processes, killed in the middle, refused."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from roi_agent.model.data.conversion import STATE, TROUBLES, ConversionSettings, convert
from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.base import Reader, Trouble
from roi_agent.model.data.readers.coco import CocoInstances
from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import CARD, RecordSet
from roi_agent.model.errors import DataNotFound, DataRefused, InvalidSetting, OutOfMemory, RoiAgentError, all_errors
from tests.public_data import Json, picture, write_json

COUNT = 60  # images; every tenth has a box outside, and one is missing


def content(count: int = COUNT) -> Json:
    images = [{"id": id, "file_name": f"{id}.jpg", "width": 60, "height": 40} for id in range(count)]
    annotations = [
        {"id": 2 * id + each, "image_id": id, "category_id": 1, "bbox": [10 * each, 5, 20 + 60 * (id % 10 == 9 and each), 9]}
        for id in range(count)
        for each in (0, 1)
    ]
    annotations.append({"id": 9999, "image_id": 777, "category_id": 1, "bbox": [0, 0, 1, 1]})
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "café"}]}


def make_data(root: Path, count: int = COUNT) -> Path:
    """Many images are links to one file."""
    first = picture(root / "images" / "0.jpg")
    for id in range(1, count):
        if id != 33:
            os.link(first, root / "images" / f"{id}.jpg")
    write_json(root / "instances_all.json", content(count))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def coco(root: Path, kind: type[CocoInstances] = CocoInstances) -> Reader:
    return kind(root, images=root / "images", split="all")


def settings(form: str = "jsonl", processes: int = 1, groups: int = 7, **more: object) -> ConversionSettings:
    return ConversionSettings(**{"form": form, "processes": processes, "groups": groups, **more})  # type: ignore[arg-type]


def converted(root: Path, folder: Path, chosen: ConversionSettings) -> dict[str, bytes]:
    convert(coco(root), folder, chosen, show_progress=False)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


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
    with pytest.raises(DataNotFound, match="not one record in 'coco all'"):
        records.stream(seed=0)


SCRIPT = """
import sys
from pathlib import Path
from roi_agent.model.data.conversion import ConversionSettings, convert
from roi_agent.model.data.readers.coco import CocoInstances

root, folder, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
reader = CocoInstances(root, images=root / "images", split="all")
convert(reader, folder, ConversionSettings(form=sys.argv[4], processes=processes, groups=5), show_progress=False)
"""


def start(root: Path, folder: Path, processes: int = 1, form: str = "jsonl") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", SCRIPT, str(root), str(folder), str(processes), form]
    return subprocess.Popen(command)


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.glob("records-*") if path.name.count(".") == 1]


def wait_for_parts(process: "subprocess.Popen[bytes]", folder: Path, count: int) -> None:
    patience = time.monotonic() + 60
    while len(parts(folder)) < count:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < patience
        time.sleep(0.002)


@pytest.mark.parametrize(("form", "processes"), [("jsonl", 1), ("jsonl", 3), ("parquet", 1)])
def test_a_conversion_that_is_killed_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path, form: str, processes: int) -> None:
    count = 1000 if form == "jsonl" else 500
    root, folder, chosen = make_data(tmp_path / "data", count), tmp_path / "out", settings(form, groups=5)
    process = start(root, folder, processes, form)
    wait_for_parts(process, folder, 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in parts(folder)}
    assert 20 <= len(kept) < count // 5
    assert (folder / STATE).exists() and not (folder / CARD).exists()
    found = converted(root, folder, chosen)
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items() if path in kept), "a part was made again"
    assert found == converted(root, tmp_path / "unbroken", chosen)


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    root, folder = make_data(tmp_path / "data", 2000), tmp_path / "out"
    process = start(root, folder, 3)
    wait_for_parts(process, folder, 5)
    children = children_of(process.pid)
    assert len(children) == 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    patience = time.monotonic() + 10
    while any(is_running(child) for child in children):
        assert time.monotonic() < patience, "a process waits for ever"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    return [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_conversions_do_not_write_into_one_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = make_data(tmp_path / "data", 2000), tmp_path / "out"
    monkeypatch.setattr("roi_agent.model.data.processes._PATIENCE_S", 0.2)
    process = start(root, folder)
    try:
        wait_for_parts(process, folder, 3)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(InvalidSetting, match="another conversion is at work"):
            convert(coco(root), folder, settings(groups=5), show_progress=False)
    finally:
        process.kill()
        process.wait()


class _Gone(CocoInstances):
    """Ends its process at one image, as the system does where memory runs out."""

    def read(self, group: int | str, rng: Random) -> Iterator[Record | Trouble]:
        if group == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(group, rng)


def test_a_process_that_is_ended_is_a_coded_error_and_what_is_finished_is_kept(root: Path, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="what is finished is kept"):
        convert(coco(root, _Gone), tmp_path / "out", settings(processes=2, groups=1), show_progress=False)
    kept = len(parts(tmp_path / "out"))
    assert kept >= 5
    assert converted(root, tmp_path / "out", settings(groups=1)) == converted(root, tmp_path / "whole", settings(groups=1))


OTHERS = {
    "another form": settings("parquet"),
    "another size of part": settings(groups=8),
    "another seed": settings(seed=1),
    "another limit": settings(limit=50),
}


@pytest.fixture
def begun(root: Path, tmp_path: Path) -> Path:
    """A conversion that stopped at the missing image."""
    with pytest.raises(DataRefused):
        convert(coco(root), tmp_path / "begun", settings(refuse=True), show_progress=False)
    assert (tmp_path / "begun" / STATE).exists()
    return tmp_path / "begun"


@pytest.mark.parametrize("chosen", OTHERS.values(), ids=OTHERS)
def test_another_conversion_in_the_same_folder_is_refused(root: Path, begun: Path, chosen: ConversionSettings) -> None:
    before = files(begun)
    with pytest.raises(InvalidSetting, match="holds a conversion of other files or with other options"):
        convert(coco(root), begun, chosen, show_progress=False)
    assert files(begun) == before


def test_other_files_in_the_same_folder_are_refused(begun: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="other files"):
        convert(coco(make_data(tmp_path / "data", 50)), begun, settings(), show_progress=False)


def test_a_state_that_cannot_be_read_is_refused(root: Path, begun: Path) -> None:
    (begun / STATE).write_text('{"reader"', encoding="utf-8")
    with pytest.raises(InvalidSetting, match="other files"):
        convert(coco(root), begun, settings(), show_progress=False)


def test_what_is_left_of_one_that_was_killed_at_once_does_not_stand_in_the_way(root: Path, tmp_path: Path) -> None:
    (tmp_path / f"{STATE}.part").write_text('{"reader"', encoding="utf-8")
    assert converted(root, tmp_path, settings()) and not list(tmp_path.glob("*.part"))


def test_a_folder_with_other_files_or_a_finished_data_set_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidSetting, match="holds files already"):
        convert(coco(root), tmp_path / "mine", settings(), show_progress=False)
    converted(root, tmp_path / "done", settings())
    with pytest.raises(InvalidSetting, match="holds a finished data set"):
        convert(coco(root), tmp_path / "done", settings(), show_progress=False)


@pytest.mark.parametrize("processes", [1, 2])
def test_refuse_stops_at_the_first_annotation_that_would_be_left_out(tmp_path: Path, processes: int) -> None:
    root = make_data(tmp_path / "data")
    values = content()
    values["annotations"].pop()  # the one whose image is not listed
    write_json(root / "instances_all.json", values)
    with pytest.raises(DataRefused, match=r"instances_all\.json, image \d+.*without --refuse"):
        convert(coco(root), tmp_path / "out", settings(refuse=True, processes=processes), show_progress=False)
    assert not (tmp_path / "out" / CARD).exists()


def test_refuse_counts_what_was_wrong_before_any_image_is_read(begun: Path, root: Path) -> None:
    with pytest.raises(DataRefused, match="annotation 9999"):
        convert(coco(root), begun, settings(refuse=True), show_progress=False)
    assert not parts(begun)


def test_refuse_is_not_fooled_by_parts_of_an_earlier_run_without_it(tmp_path: Path) -> None:
    root, folder = make_data(tmp_path / "data", 32), tmp_path / "out"
    values = content(32)
    values["annotations"].pop()
    for id in (19, 29):  # only image 9 is broken
        values["annotations"][2 * id + 1]["bbox"] = [10, 5, 20, 9]
    write_json(root / "instances_all.json", values)
    with pytest.raises(OutOfMemory):
        convert(coco(root, _Gone), folder, settings(groups=1, processes=2), show_progress=False)
    assert (folder / "records-00009.jsonl").exists() and not (folder / CARD).exists()
    with pytest.raises(DataRefused, match="image 9"):
        convert(coco(root), folder, settings(groups=1, refuse=True), show_progress=False)
    assert not (folder / CARD).exists()


def test_refuse_lets_through_what_was_put_right(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "0.jpg")
    values = content(1)
    values["annotations"] = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [50, 5, 10.5, 9]}]
    write_json(tmp_path / "instances_all.json", values)
    card = convert(coco(tmp_path), tmp_path / "out", settings(refuse=True), show_progress=False)
    assert (card.records, card.troubles) == (1, {"box_clipped": 1})


@contextmanager
def small_disk(num_bytes: int) -> Iterator[None]:
    """No file may grow over this size, and the system says so as it does of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("form", "processes"), [("jsonl", 1), ("jsonl", 2), ("parquet", 1)])
def test_a_full_disk_is_a_clear_error_and_with_room_it_goes_on(root: Path, tmp_path: Path, form: str, processes: int) -> None:
    with small_disk(1500), pytest.raises(InvalidSetting, match=r"cannot write to .*make room"):
        convert(coco(root), tmp_path / "out", settings(form, processes), show_progress=False)
    assert not parts(tmp_path / "out")
    assert converted(root, tmp_path / "out", settings(form)) == converted(root, tmp_path / "whole", settings(form))


def test_a_place_that_cannot_be_written_is_a_clear_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "new", Path("/proc/new")):
        with pytest.raises(InvalidSetting, match="cannot write to"):
            convert(coco(root), folder, settings(), show_progress=False)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write into any folder: be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("begun", [False, True], ids=["empty", "begun"])
def test_a_folder_that_is_read_only_is_a_clear_error(begun: bool) -> None:
    with TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        root, folder = make_data(Path(place) / "data"), Path(place) / "out"
        if begun:
            with pytest.raises(OutOfMemory):
                convert(coco(root, _Gone), folder, settings(processes=2, groups=1), show_progress=False)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o555)
        with as_nobody(), pytest.raises(InvalidSetting, match=r"cannot write to .*: Permission denied"):
            convert(coco(root), folder, settings(groups=1), show_progress=False)
        folder.chmod(0o755)
        assert (folder / STATE).exists() == begun


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
