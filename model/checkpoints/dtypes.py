"""In which type weights run: in the one that they are stored in, but for half precision on a CPU that computes it slowly.

Many processors multiply no half precision: there a convolution takes a hundred times as long as in float32, and no processor
has fast convolutions in float16.
"""

import json
import logging
import os
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HALVES = (torch.float16, torch.bfloat16)
_ROOM = 1.25  # times the weights: for what is kept of images, and what is computed with
_log = logging.getLogger(__name__)


def running_dtype(stored: torch.dtype, device: str, *, name: str, num_parameters: int) -> torch.dtype:
    """The type in which weights run on a device where nobody asks for one; a line of the log says so where it is another."""
    if stored not in _HALVES or torch.device(device).type != "cpu":
        return stored
    if has_bfloat16():
        chosen, slowly = torch.bfloat16, ""
    elif (needed := _ROOM * num_parameters * torch.float32.itemsize) <= memory()[1]:
        chosen, slowly = torch.float32, ""
    else:
        chosen = torch.bfloat16
        slowly = f", slowly: this processor does not multiply it, and for float32 {needed / 1e9:.1f} GB would have to be free"
    if chosen != stored or slowly:
        _log.warning("the weights of %s are %s; on this CPU they run in %s%s", name, _word(stored), _word(chosen), slowly)
    return chosen


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself: AVX512_BF16 or AMX on x86, BF16 on ARM."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def slow_dtypes() -> set[torch.dtype]:
    """The types that a CPU multiplies slowly: no processor has fast convolutions in float16."""
    return {torch.float16} if has_bfloat16() else set(_HALVES)


def stored_dtype(folder: Path) -> tuple[torch.dtype | None, int]:
    """The type of a local folder's weights, and how many numbers they are; (None, 0) where that cannot be told.

    The configuration's word counts, and without one the type of most numbers.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        sizes = _sizes(folder)
        declared = DTYPES.get(str(config.get("dtype", config.get("torch_dtype"))))
    except (OSError, ValueError, AttributeError, TypeError, KeyError, SafetensorError):  # loading says what is wrong
        return None, 0
    usual = max(sizes, key=sizes.__getitem__, default=None)
    return declared or DTYPES.get({"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(usual or "", "")), sum(
        sizes.values()
    )


def memory() -> tuple[int, int]:
    """Bytes of the machine's memory, or of the container's share: in all, and available."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free, meminfo, limit = total, Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) << 10 if "MemAvailable" in lines else total
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    return total, min(total, free)


def _sizes(folder: Path) -> dict[str, int]:
    """How many numbers of each type the safetensors hold, from their headers."""
    sizes: dict[str, int] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                part = opened.get_slice(name)
                sizes[part.get_dtype()] = sizes.get(part.get_dtype(), 0) + prod(part.get_shape())
    return sizes


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
