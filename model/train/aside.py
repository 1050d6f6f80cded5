"""Files that are either whole or not there."""

import os
from collections.abc import Callable
from pathlib import Path


def save_aside(path: Path, save: Callable[[Path], object]) -> None:
    """Write beside the target and rename, so that a cut leaves the earlier file whole."""
    aside = path.with_name(path.name + ".part")
    save(aside)
    os.replace(aside, path)
