"""Conversions of data sets that are killed, or find another one at work: nothing is lost, and no process is left."""

import signal
import time
from pathlib import Path

import pytest

from roi_agent.model.data.conversion import STATE, convert
from roi_agent.model.data.record_files import CARD
from roi_agent.model.errors import InvalidSetting, OutOfMemory
from tests.conversions import Gone, coco, converted, make_data, parts, settings
from tests.forking import Forked, program


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


SCRIPT = """
import sys
from pathlib import Path
from roi_agent.model.data.conversion import ConversionSettings, convert
from roi_agent.model.data.readers.coco import CocoInstances

root, folder, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
reader = CocoInstances(root, images=root / "images", split="all")
convert(reader, folder, ConversionSettings(format=sys.argv[4], processes=processes, groups=5), show_progress=False)
"""


def start(root: Path, folder: Path, processes: int = 1, form: str = "jsonl") -> Forked:
    return program(SCRIPT, str(root), str(folder), str(processes), form)


def wait_for_parts(process: Forked, folder: Path, count: int) -> None:
    patience = time.monotonic() + 60
    while len(parts(folder)) < count:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < patience
        time.sleep(0.002)


@pytest.mark.parametrize(("form", "processes"), [("jsonl", 1), ("jsonl", 3), ("parquet", 1)])
def test_a_conversion_that_is_killed_continues_and_ends_as_an_unbroken_one(tmp_path: Path, form: str, processes: int) -> None:
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
    monkeypatch.setattr("roi_agent.model.data.parallel._LOCK_TIMEOUT_S", 0.2)
    process = start(root, folder)
    try:
        wait_for_parts(process, folder, 3)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(InvalidSetting, match="another conversion is running"):
            convert(coco(root), folder, settings(groups=5), show_progress=False)
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_ended_is_a_coded_error_and_what_is_finished_is_kept(root: Path, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="finished parts are kept"):
        convert(coco(root, Gone), tmp_path / "out", settings(processes=2, groups=1), show_progress=False)
    kept = len(parts(tmp_path / "out"))
    assert kept >= 5
    assert converted(root, tmp_path / "out", settings(groups=1)) == converted(root, tmp_path / "whole", settings(groups=1))
