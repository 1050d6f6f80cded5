"""Windowed reading of weight files: a checkpoint of any size takes a few megabytes of memory.

`.bin` files are pickles, opened with `weights_only=True`, which refuses everything but tensors.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from roi_agent.model.errors import CheckpointMismatch, ModelNotFound

# The first that exists is read; an index lists its shards.
_NAMES = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
_BLOCK_BYTES = 4 << 20
# Pages of a mapped file count as memory until it is unmapped: it is reopened after this many bytes, or this share of all.
_WINDOW_BYTES, _WINDOW_SHARE = 16 << 20, 1 / 64


@dataclass(frozen=True, slots=True)
class Entry:
    """Metadata of a tensor in a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path

    @property
    def num_bytes(self) -> int:
        """Bytes of the values."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class WeightFolder:
    """The tensors of a folder by name, from one or several files.

    Raises ModelNotFound for a folder without weights; CheckpointMismatch for an index that does not match its shards and
    for files that cannot be read safely.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.files, self._index = _weight_files(self.folder)
        self.entries: dict[str, Entry] = {}
        for file in self.files:
            self._add(file)
        self._check_index()
        self._open: tuple[Path, Any] | None = None
        self._seen_bytes = 0
        self._window_bytes = max(_WINDOW_BYTES, _WINDOW_SHARE * sum(entry.num_bytes for entry in self.entries.values()))

    def blocks(self, name: str) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows of a tensor in blocks of a few megabytes; copy each before the next."""
        entry = self.entries[name]
        num_rows = entry.shape[0] if entry.shape else 1
        step = max(1, _BLOCK_BYTES * num_rows // max(1, entry.num_bytes))
        for start in range(0, num_rows, step):
            rows = slice(start, min(start + step, num_rows))
            yield rows, self.rows(name, rows)

    def rows(self, name: str, rows: slice) -> Tensor:
        """Some rows of a tensor, mapped, not copied; a scalar as it is."""
        entry = self.entries[name]
        self._seen_bytes += entry.num_bytes * (rows.stop - rows.start) // max(1, entry.shape[0] if entry.shape else 1)
        if self._open is None or self._open[0] != entry.file or self._seen_bytes > self._window_bytes:
            self.close()
            self._open = (entry.file, open_weights(entry.file))
        mapped = self._open[1]
        if isinstance(mapped, dict):
            tensor: Tensor = mapped[name]
            return tensor[rows] if entry.shape else tensor
        part: Tensor = mapped.get_slice(name)[rows] if entry.shape else mapped.get_tensor(name)
        return part

    def close(self) -> None:
        """Unmap the file."""
        self._open, self._seen_bytes = None, 0

    def _add(self, file: Path) -> None:
        for name, entry in _entries(file).items():
            if name in self.entries:
                raise CheckpointMismatch(f"{name} is both in {self.entries[name].file.name} and in {file.name}")
            self.entries[name] = entry

    def _check_index(self) -> None:
        lost = sorted(name for name in self._index if name not in self.entries)
        if lost:
            raise CheckpointMismatch(
                f"the index of {self.folder.name!r} names {len(lost)} tensors that its files do not hold: {', '.join(lost[:5])}",
                do="download the files again",
            )


def is_weight_folder(folder: str | Path) -> bool:
    """Whether a folder contains weight files that we read."""
    return any((Path(folder) / name).is_file() for name in _NAMES)


def check_weight_folder(folder: Path) -> None:
    """Raise ModelNotFound for a folder without weight files that we read."""
    if not folder.is_dir():
        raise ModelNotFound(f"{folder.name!r} is not a folder", do="give a folder with weights and config.json")
    if not is_weight_folder(folder):
        raise ModelNotFound(f"no weights in the folder {folder.name!r}", do=f"it should hold one of {', '.join(_NAMES)}")


def _weight_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The weight files, and the index (tensor -> file) if there is one."""
    check_weight_folder(folder)
    found = next(folder / name for name in _NAMES if (folder / name).is_file())
    if found.suffix != ".json":
        return [found], {}
    index = _read_index(found)
    files = [folder / name for name in sorted(set(index.values()))]
    missing = [file.name for file in files if file.parent != folder or not file.is_file()]
    if missing:
        raise CheckpointMismatch(
            f"{len(missing)} of {len(files)} weight files are missing in {folder.name!r}: {', '.join(missing[:5])}",
            do="download them again",
        )
    return files, index


def _read_index(file: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(file.read_text())["weight_map"]
        return {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointMismatch(f"{file.name} is not an index of weights", do="download it again") from None


def _entries(file: Path) -> dict[str, Entry]:
    mapped = open_weights(file)
    if not isinstance(mapped, dict):
        # get_tensor of a mapped file reads nothing yet; it only makes a view.
        return {name: _entry(mapped.get_tensor(name), file) for name in mapped.keys()}  # noqa: SIM118
    strange = [str(name) for name, value in mapped.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointMismatch(f"{file.name} contains more than tensors: {', '.join(strange[:5])}")
    return {str(name): _entry(value, file) for name, value in mapped.items()}


def _entry(tensor: Tensor, file: Path) -> Entry:
    return Entry(tuple(tensor.shape), tensor.dtype, file)


def open_weights(file: Path) -> Any:
    """Open a file: a dictionary of mapped tensors, or a safetensors handle."""
    try:
        if file.suffix == ".safetensors":
            return safe_open(file, framework="pt")
        mapped = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise _unreadable(file) from error
    if not isinstance(mapped, dict):
        raise CheckpointMismatch(f"{file.name} contains no dictionary of tensors")
    return mapped


def _unreadable(file: Path) -> CheckpointMismatch:
    return CheckpointMismatch(
        f"{file.name} is damaged, in the format of PyTorch before 1.6, or contains more than tensors",
        do="download it again, or save it with a current PyTorch; nothing but tensors is ever unpickled",
    )
