"""The dtype in which weights run: the stored one, except half precision on a CPU where it is slow.

Many processors have no half-precision arithmetic: there a convolution takes a hundred times as long as in float32. No processor
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
_ROOM = 1.25  # times the weights, for the image cache and activations
_log = logging.getLogger(__name__)


def running_dtype(stored: torch.dtype, device: str, *, name: str, num_parameters: int) -> torch.dtype:
    """The default dtype of weights on a device; logs a warning if it is not the stored one."""
    if stored not in _HALVES or torch.device(device).type != "cpu":
        return stored
    if has_bfloat16():
        chosen, slowly = torch.bfloat16, ""
    elif (needed := _ROOM * num_parameters * torch.float32.itemsize) <= memory()[1]:
        chosen, slowly = torch.float32, ""
    else:
        chosen = torch.bfloat16
        slowly = f", slowly: this processor has no arithmetic for it, and float32 needs {needed / 1e9:.1f} GB of free memory"
    if chosen != stored or slowly:
        _log.warning("the weights of %s are %s; on this CPU they run in %s%s", name, _word(stored), _word(chosen), slowly)
    return chosen


def has_bfloat16() -> bool:
    """Whether the processor has bfloat16 arithmetic: AVX512_BF16 or AMX on x86, BF16 on ARM."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def slow_dtypes() -> set[torch.dtype]:
    """The dtypes that are slow on this CPU."""
    return {torch.float16} if has_bfloat16() else set(_HALVES)


def stored_dtype(folder: Path) -> tuple[torch.dtype | None, int]:
    """The dtype of a local folder's weights, and their number; (None, 0) if unknown.

    The dtype is that of the configuration, or otherwise that of most numbers.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        sizes = _sizes(folder)
        declared = DTYPES.get(str(config.get("dtype", config.get("torch_dtype"))))
    except (OSError, ValueError, AttributeError, TypeError, KeyError, SafetensorError):  # loading reports the problem
        return None, 0
    usual = max(sizes, key=sizes.__getitem__, default=None)
    return declared or DTYPES.get({"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(usual or "", "")), sum(
        sizes.values()
    )


def memory() -> tuple[int, int]:
    """Total and available bytes of memory, of the machine or of the container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free, meminfo, limit = total, Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) << 10 if "MemAvailable" in lines else total
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    return total, min(total, free)


def _sizes(folder: Path) -> dict[str, int]:
    """Numbers by dtype in a folder's safetensors, from their headers."""
    sizes: dict[str, int] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a dict
                part = opened.get_slice(name)
                sizes[part.get_dtype()] = sizes.get(part.get_dtype(), 0) + prod(part.get_shape())
    return sizes


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
