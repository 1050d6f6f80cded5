"""Atomic files and folders: written under a temporary name, then renamed."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_ENDING = ".part"


def write_atomically(path: Path, save: Callable[[Path], _T]) -> _T:
    """Write a temporary file beside the target and rename it. An interruption leaves the earlier file unchanged.

    save: writes the content to the path that it gets.  Returns what `save` returns.
    """
    unfinished = path.with_name(path.name + _ENDING)
    try:
        result = save(unfinished)
        os.replace(unfinished, path)
        return result
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def is_free(out: Path) -> bool:
    """Whether `out` does not exist, or is a folder that contains nothing but leftovers of a killed attempt."""
    return not out.exists() or (out.is_dir() and set(out.iterdir()) == set(_unfinished(out, out.resolve().name)))


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` at the end, and is removed on any error, including Ctrl-C.

    The folder is created beside `out` and renamed. If `out` is an empty folder, which may be a mount or a shell's working
    directory, the temporary folder is created in it and its content is moved up.
    Error: OSError if `out` is not free or cannot be written.
    """
    out = out.resolve()
    if not is_free(out):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(out))
    place = out if out.exists() else out.parent
    place.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_ENDING, dir=place))
    try:
        with _opened(unfinished) as mark:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield unfinished
            _open_to_others(unfinished)
            if place == out:
                _move_up(unfinished)
            else:
                unfinished.rename(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def remove_leftovers(out: Path) -> None:
    """Remove leftovers of killed attempts to write `out`, beside it and in it."""
    out = out.resolve()
    for place in filter(Path.is_dir, (out, out.parent)):
        for each in _unfinished(place, out.name):
            with suppress(OSError), _opened(each) as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while another process is filling it
                shutil.rmtree(each)


def _unfinished(place: Path, name: str) -> list[Path]:
    """Return the temporary folders in `place` for a folder of that name."""
    return [each for each in place.iterdir() if each.name.startswith(f".{name}.") and each.suffix == _ENDING]


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_to_others(folder: Path) -> None:
    """Set the default permissions: safetensors and mkdtemp create files that only their owner can read."""
    mask = os.umask(0)
    os.umask(mask)
    for file in filter(Path.is_file, folder.rglob("*")):
        file.chmod(0o666 & ~mask)
    folder.chmod(0o777 & ~mask)


def _move_up(folder: Path) -> None:
    """Move everything in a folder to its parent, or nothing; folders first."""
    moved: list[Path] = []
    try:
        for each in sorted(folder.iterdir(), key=lambda each: (each.is_file(), each.name)):
            moved.append(each)
            each.rename(folder.parent / each.name)
        folder.rmdir()
    except BaseException:
        for each in moved:
            with suppress(FileNotFoundError):  # not moved yet
                (folder.parent / each.name).rename(each)
        raise
