"""From a name to a region model: a shipped preset, or a local folder."""

from pathlib import Path

import torch

from roi_agent.model.configuration import PRESETS
from roi_agent.model.errors import InvalidSetting, ModelNotFound
from roi_agent.model.local import LocalRegionModel
from roi_agent.model.protocol import RegionModel

SHIPPED = {"nano": Path(__file__).parent / "model" / "nano"}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, None: None}


def load_region_model(name: str | Path = "nano", *, device: str | None = None, dtype: str | None = None) -> RegionModel:
    """A region model that answers `ask`, `chat` and `choose`.

    name: `nano`, which is shipped, or a folder that `roi-agent train` or `roi-agent convert` wrote.
    device: `cpu`, `cuda`, `cuda:1`, `mps`; by default a GPU where there is one, except for nano.
    dtype: `float32`, `bfloat16` or `float16`; by default what the weights are stored in.
    Raises ModelNotFound, CheckpointMismatch and InvalidSetting.
    """
    folder = SHIPPED.get(str(name), Path(name))
    if not folder.is_dir():
        raise _unknown(str(name))
    # So small a model answers sooner on the CPU than a GPU can be started.
    chosen = device or ("cpu" if str(name) in SHIPPED else _best_device())
    return LocalRegionModel.from_folder(folder, device=_checked_device(chosen), dtype=_dtype(dtype))


def _unknown(name: str) -> ModelNotFound:
    if name.startswith(("http://", "https://")):
        return ModelNotFound(f"{name!r} is an address", do="give nano or a local folder; servers are not supported yet")
    if name in PRESETS:
        return ModelNotFound(
            f"the weights of {name} are not shipped", do="convert the published ones with roi-agent convert and give their folder"
        )
    return ModelNotFound(f"{name!r} is neither a shipped model nor a folder", do=f"give {', '.join(SHIPPED)} or a folder")


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _checked_device(device: str) -> str:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError):
        raise InvalidSetting(f"the device {device!r} cannot be used here", do="roi-agent doctor lists the devices") from None
    return device


def _dtype(name: str | None) -> torch.dtype | None:
    if name not in _DTYPES:
        raise InvalidSetting(f"the type {name!r} is unknown", do="use float32, bfloat16 or float16")
    return _DTYPES[name]
