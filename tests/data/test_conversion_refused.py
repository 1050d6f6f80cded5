"""Conversions of data sets that are refused: other files or options in the folder, no room, and annotations left out."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from roi_agent.model.data.conversion import STATE, ConversionSettings, convert
from roi_agent.model.data.record_files import CARD
from roi_agent.model.errors import DataRefused, InvalidSetting, OutOfMemory
from tests.conversions import Gone, coco, content, converted, files, make_data, parts, settings
from tests.public_data import picture, write_json


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


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


# -- the folder holds something else


@pytest.mark.parametrize("chosen", OTHERS.values(), ids=OTHERS)
def test_another_conversion_in_the_same_folder_is_refused(root: Path, begun: Path, chosen: ConversionSettings) -> None:
    before = files(begun)
    with pytest.raises(InvalidSetting, match="contains a conversion of other files or with other options"):
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
    with pytest.raises(InvalidSetting, match="contains files already"):
        convert(coco(root), tmp_path / "mine", settings(), show_progress=False)
    converted(root, tmp_path / "done", settings())
    with pytest.raises(InvalidSetting, match="contains a finished data set"):
        convert(coco(root), tmp_path / "done", settings(), show_progress=False)


# -- nothing may be left out


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
        convert(coco(root, Gone), folder, settings(groups=1, processes=2), show_progress=False)
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


# -- the disk


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
def test_a_full_disk_is_a_clear_error_and_with_room_it_continues(root: Path, tmp_path: Path, form: str, processes: int) -> None:
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
                convert(coco(root, Gone), folder, settings(processes=2, groups=1), show_progress=False)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o555)
        with as_nobody(), pytest.raises(InvalidSetting, match=r"cannot write to .*: Permission denied"):
            convert(coco(root), folder, settings(groups=1), show_progress=False)
        folder.chmod(0o755)
        assert (folder / STATE).exists() == begun
