"""Checks of a conversion's target before it begins."""

import shutil
from pathlib import Path

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.utils.atomic_files import is_free, remove_leftovers


def check_empty(out: Path) -> None:
    """Refuse a target that is not empty; remove leftovers of a killed attempt. Raises InvalidSetting."""
    if not is_free(out):
        raise InvalidSetting(f"{out.name!r} exists and is not an empty folder", do="name a new folder")
    remove_leftovers(out)


def check_disk(out: Path, num_bytes: int) -> None:
    """Refuse a disk without enough space. Raises InvalidSetting."""
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    free, needed = shutil.disk_usage(existing).free, num_bytes + (64 << 20)
    if free < needed:
        raise InvalidSetting(
            f"the result takes {needed / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB free",
            do="name a folder on another disk",
        )
