"""Storage of a workspace in a folder.

    workspace.json           schema version, images and regions; replaced atomically, after all files that it refers to
    images/<sha256>.png      each whole image under the digest of its pixels; crops are cut again from their image
    .lock                    held while a program reads, changes and writes

A write that is interrupted leaves the earlier workspace.json and every file that it refers to.
"""

import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image

from roi_agent.model.errors import RoiAgentError, WorkspaceConflict, WorkspaceUnreadable
from roi_agent.model.geometry.boxes import PIXEL_LIMIT, Box
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage, load_image

SCHEMA_VERSION = 1
WAIT_S = 300.0  # maximum wait for another program
_INDEX, _IMAGES, _LOCK = "workspace.json", "images", ".lock"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HINT = "give a folder written by roi-agent, or a new one"


@dataclass(frozen=True, slots=True)
class WorkspaceImage:
    """An image under its handle.

    name: image1, image2, ...  image: its pixels.
    parent: of a crop, the image that it was cut from.  box: its place there, in whole pixels.
    region: of a crop, the region that it was cut around, if any.
    """

    name: str
    image: LoadedImage
    parent: str | None = None
    box: Box | None = None
    region: str | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size_wh

    @property
    def pixels(self) -> Image.Image:
        """The picture, mode RGB; read-only."""
        return self.image.pixels

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import picture, soft, stacked

        width, height = self.size_wh
        return stacked(picture(self.pixels, self.name), soft(f"{self.name}: {self.image.source}, {width} x {height} pixels"))

    def to_dict(self) -> dict[str, object]:
        """Return the entry in workspace.json."""
        wire: dict[str, object] = {"name": self.name, "sha256": self.image.digest(), "source": self.image.source}
        wire |= {"notes": list(self.image.notes)} if self.image.notes else {}
        wire |= {"parent": self.parent, "box": list(self.box.xyxy)} if self.parent and self.box else {}
        return wire | ({"region": self.region} if self.region else {})


def exists(folder: str | Path) -> bool:
    """Whether a folder contains a workspace."""
    return (Path(folder) / _INDEX).exists()


@contextmanager
def locked(folder: str | Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Lock a folder against other programs, after waiting for them up to wait_s; a missing folder is created.

    Errors: WorkspaceConflict after the wait, WorkspaceUnreadable if the folder cannot be written.
    """
    path = Path(folder)
    try:
        if path.is_dir() and any(path.iterdir()) and not exists(path) and not (path / _LOCK).exists():
            raise WorkspaceUnreadable(f"{path.name!r} contains other files and no workspace", do=_HINT)
        path.mkdir(parents=True, exist_ok=True)
        file = (path / _LOCK).open("ab")
    except OSError as error:
        raise WorkspaceUnreadable(f"{path.name!r} cannot be written: {error.strerror}", do="give another folder") from None
    with file:
        deadline = time.monotonic() + wait_s
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise WorkspaceConflict(f"{path.name!r} is in use by another program", do="wait for it, or stop it")
            time.sleep(0.05)
        yield  # closing the file releases the lock


def write(folder: str | Path, images: Sequence[WorkspaceImage], regions: Sequence[Region]) -> None:
    """Write a workspace to a locked folder.  Errors: WorkspaceConflict, WorkspaceUnreadable."""
    path = Path(folder)
    index = {
        "schema_version": SCHEMA_VERSION,
        "images": [image.to_dict() for image in images],
        "regions": [region.to_dict() for region in regions],
    }
    _check_continues(path, index)
    try:
        (path / _IMAGES).mkdir(exist_ok=True)
        for image in images:
            file = path / _IMAGES / f"{image.image.digest()}.png"
            if image.parent is None and not file.exists():
                _replace(file, lambda out, image=image: image.pixels.save(out, "PNG"))  # type: ignore[misc]
        text = json.dumps(index, indent=1) + "\n"
        _replace(path / _INDEX, lambda out: out.write(text.encode()))
    except OSError as error:
        raise WorkspaceUnreadable(
            f"{path.name!r} cannot be written: {error.strerror}", do="free some space, or move it"
        ) from None


def read(folder: str | Path) -> tuple[list[WorkspaceImage], list[Region]]:
    """Read and validate the images and regions of a folder.  Error: WorkspaceUnreadable."""
    path = Path(folder)
    index = _read_index(path)
    try:
        images: dict[str, WorkspaceImage] = {}
        for number, item in enumerate(index["images"], start=1):
            if item["name"] != f"image{number}":
                raise ValueError("an image is missing")
            images[item["name"]] = _read_image(path, item, images)
        regions = [_read_region(item, number, images) for number, item in enumerate(index["regions"], start=1)]
    except RoiAgentError as error:
        raise WorkspaceUnreadable(f"the workspace {path.name!r} is damaged: {error.problem}", do=_HINT) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise WorkspaceUnreadable(f"the workspace {path.name!r} is damaged: {_INDEX} is incomplete", do=_HINT) from None
    return list(images.values()), regions


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / _INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkspaceUnreadable(f"there is no workspace in {path.name!r}", do=_HINT) from None
    except (OSError, ValueError, RecursionError):
        raise WorkspaceUnreadable(f"{_INDEX} in {path.name!r} cannot be read", do=_HINT) from None
    version = index.get("schema_version") if isinstance(index, dict) else None
    if version != SCHEMA_VERSION:
        problem = f"the workspace {path.name!r} has the schema version {version!r}, but this program reads {SCHEMA_VERSION}"
        raise WorkspaceUnreadable(problem, do="update roi-agent" if isinstance(version, int) else _HINT)
    assert isinstance(index, dict)
    return index


def _read_image(path: Path, item: Mapping[str, Any], known: Mapping[str, WorkspaceImage]) -> WorkspaceImage:
    digest, notes = item["sha256"], tuple(map(str, item.get("notes", ())))
    if not _DIGEST.fullmatch(digest):  # it becomes part of a path
        raise ValueError(digest)
    if "parent" in item:
        whole = known[item["parent"]].image
        box = Box.parse(item["box"], size_wh=whole.size_wh)
        pixels = whole.pixels.crop(tuple(map(int, box.xyxy)))  # type: ignore[arg-type]  # four whole numbers
    else:
        whole, box, pixels = None, None, load_image(path / _IMAGES / f"{digest}.png", max_pixels=PIXEL_LIMIT).pixels
    loaded = LoadedImage(pixels, str(item["source"]), notes, whole)
    if loaded.digest() != digest:
        raise WorkspaceUnreadable(f"the pixels of {item['name']} have changed since they were saved")
    return WorkspaceImage(item["name"], loaded, item.get("parent"), box, item.get("region"))


def _read_region(item: Mapping[str, Any], number: int, images: Mapping[str, WorkspaceImage]) -> Region:
    (region,) = parse_regions([item], size_wh=images[item["image"]].size_wh)
    if item["name"] != f"region{number}":
        raise ValueError("a region is missing")
    return region


def _check_continues(path: Path, index: Mapping[str, Any]) -> None:
    """Check that no handle of the folder changes its meaning.  Error: WorkspaceConflict."""
    if not exists(path):
        return
    saved = _read_index(path)
    for kind in ("images", "regions"):
        kept = saved.get(kind, [])
        if index[kind][: len(kept)] != kept:
            problem = f"the folder {path.name!r} contains {kind} that this workspace does not have"
            raise WorkspaceConflict(problem, do="load it first, or save to another folder")


def _replace(target: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a temporary file, sync it to disk, and rename it."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(handle, 0o666 & ~mask)  # mkstemp creates files that only their owner can read
    try:
        with os.fdopen(handle, "wb") as out:
            fill(out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
