"""Files and folders that are whole or not there: killed, interrupted, on a full disk, in mounts and links, and two at once."""

import signal
from contextlib import AbstractContextManager, chdir, nullcontext
from pathlib import Path

import pytest

from roi_agent.model.utils.atomic_files import atomic_folder, is_free, remove_leftovers, write_atomically
from tests.forking import program

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from roi_agent.model.utils.atomic_files import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "below").mkdir()
    (folder / "below" / "half").write_text("ha")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def fill(out: Path) -> None:
    with atomic_folder(out) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "one").write_text("1")
        (folder / "two").write_text("2")


def held(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*"))


@pytest.fixture(params=["new", "empty"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A place for a folder, which is not there or empty."""
    if request.param == "empty":
        (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_folder_is_whole_with_the_rights_of_any_other(out: Path) -> None:
    fill(out)
    assert held(out.parent) == ["out", "out/below", "out/below/one", "out/two"]
    (out.parent / "usual").mkdir()
    assert out.stat().st_mode == (out.parent / "usual").stat().st_mode


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_nothing_is_left_of_one_that_was_given_up(out: Path, error: type[BaseException]) -> None:
    before = held(out.parent)
    with pytest.raises(error), atomic_folder(out) as folder:
        (folder / "one").write_text("1")
        raise error
    assert held(out.parent) == before


def test_one_that_is_given_up_while_it_is_put_in_place_leaves_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, rename = held(out.parent), Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if (self.name != "below" and out in target.parents) or target == out:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(out)
    assert held(out.parent) == before


def test_a_killed_one_does_not_stand_in_the_way_and_is_removed(out: Path) -> None:
    assert program(KILLED, str(out)).wait() == -signal.SIGKILL
    assert any(path.endswith("below/half") for path in held(out.parent)) and not (out / "below").exists()
    assert is_free(out)
    fill(out)
    assert held(out.parent) == ["out", "out/below", "out/below/one", "out/two"]


def test_leftovers_are_those_of_the_same_folder_that_nobody_fills(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (".out.0abc.part", ".other.0abc.part", ".out.0abc", "out.part"):
        (tmp_path / name / "below").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"), atomic_folder(out):
        assert len(held(tmp_path)) == 7
        fill(out)  # two at once: the first one to end has it
    remove_leftovers(out)
    assert [each.name for each in sorted(tmp_path.iterdir())] == [".other.0abc.part", ".out.0abc", "out", "out.part"]
    assert held(out) == ["below", "below/one", "two"]


@pytest.mark.parametrize("what", ["file", "full"])
def test_what_is_there_is_not_written_over(tmp_path: Path, what: str) -> None:
    if what == "full":
        (tmp_path / "out").mkdir()
    (tmp_path / ("out" if what == "file" else "out/mine")).write_text("mine")
    before = held(tmp_path)
    assert not is_free(tmp_path / "out")
    with pytest.raises(OSError):
        fill(tmp_path / "out")
    assert held(tmp_path) == before


@pytest.mark.parametrize("given", ["link", ".", "deep/er/out"])
def test_links_the_current_folder_and_new_parents_are_fine(tmp_path: Path, given: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    place: AbstractContextManager[None] = chdir(tmp_path / "out") if given == "." else nullcontext()
    with place:
        fill(Path(given) if given == "." else tmp_path / given)
        if given == ".":
            assert held(Path.cwd()) == ["below", "below/one", "two"]
    assert held(tmp_path / ("deep/er/out" if given.startswith("deep") else "out")) == ["below", "below/one", "two"]


def test_an_empty_folder_is_filled_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # as a mount cannot be, nor the folder that a shell stands in without confusion
    inode = (tmp_path / "out").stat().st_ino
    fill(tmp_path / "out")
    assert (tmp_path / "out").stat().st_ino == inode


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_file_that_was_given_up_leaves_the_earlier_one(tmp_path: Path, error: type[BaseException]) -> None:
    write_atomically(tmp_path / "file", lambda aside: aside.write_text("earlier"))

    def stopped(aside: Path) -> None:
        aside.write_text("ha")
        raise error

    with pytest.raises(error):
        write_atomically(tmp_path / "file", stopped)
    assert held(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "earlier"
