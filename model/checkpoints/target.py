"""The folder that a conversion writes: new, whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roi_agent.model.errors import InvalidSetting


def check_empty(out: Path) -> None:
    """Refuse a target that holds anything. Raises InvalidSetting."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidSetting(f"{out.name!r} exists and is not an empty folder", do="name a new folder")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` at the end, and vanishes on any error."""
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        yield aside
        mask = os.umask(0)
        os.umask(mask)
        for file in filter(Path.is_file, aside.rglob("*")):
            file.chmod(0o666 & ~mask)  # safetensors, as mkdtemp, makes files for their owner alone
        aside.chmod(0o777 & ~mask)
        aside.replace(out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def check_disk(out: Path, num_bytes: int) -> None:
    """Refuse a disk without room for so many bytes. Raises InvalidSetting."""
    standing = next(parent for parent in out.absolute().parents if parent.exists())
    free, needed = shutil.disk_usage(standing).free, num_bytes + (64 << 20)
    if free < needed:
        raise InvalidSetting(
            f"the result takes {needed / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB free",
            do="name a folder on another disk",
        )
