"""Loading with transformers: strict about keys, and with a progress bar only for downloads."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from roi_agent.model.checkpoints.dtypes import running_dtype
from roi_agent.model.errors import CheckpointMismatch, ModelNotFound

_SHOWN_KEYS = 5


def load_part(kind: Any, folder: str | Path) -> Any:
    """Load a configuration or a processor with `kind.from_pretrained(folder)`.

    folder: a local folder, or a name on the Hugging Face hub such as IDEA-Research/grounding-dino-tiny.
    Errors: ModelNotFound for a missing model, CheckpointMismatch for one that cannot be read.
    """
    return _load(kind, folder)


def load_model(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Load a complete model with `kind.from_pretrained(folder, **options)`.

    Errors: those of `load_part`, and CheckpointMismatch for missing, unexpected and mismatched keys.
    """
    with without_bars(unless=not Path(folder).is_dir()), _without_reports():
        model, report = _load(kind, folder, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    wrong = [f"{len(report[key])} {key.replace('_', ' ')} ({_first_keys(report[key])})" for key in sorted(report) if report[key]]
    if wrong:
        problem = f"the weights in {_shown(folder)} do not match the configuration: {', '.join(wrong)}"
        raise CheckpointMismatch(problem, do="convert or train them again")
    return model


def _first_keys(keys: Collection[Any]) -> str:
    """The first keys of a loading report; a mismatched one with the shapes in file and model."""
    shown = [each if isinstance(each, str) else f"{each[0]}: {tuple(each[1])} for {tuple(each[2])}" for each in keys]
    return ", ".join(sorted(shown)[:_SHOWN_KEYS]) + (", ..." if len(shown) > _SHOWN_KEYS else "")


@contextmanager
def _without_reports() -> Iterator[None]:
    """Hide transformers' table of mismatched keys, which the error lists."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def load_on(kind: Any, folder: str | Path, *, device: str, dtype: torch.dtype | None) -> Any:
    """As `load_model`, on a device, in a dtype: by default the stored one, or the fast one on a CPU; see `running_dtype`."""
    model = load_model(kind, folder, dtype=dtype or "auto")
    if dtype is None:
        count = sum(each.numel() for each in model.parameters())
        dtype = running_dtype(model.dtype, device, name=Path(folder).name, num_parameters=count)
    return model.to(device, dtype)


def _load(kind: Any, folder: str | Path, **options: Any) -> Any:
    local, name = Path(folder).is_dir(), str(folder)
    if not local and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise ModelNotFound(
            f"{name!r} is neither a folder nor a name on the hub", do="give a folder, or a name such as owner/model"
        )
    if local and not (Path(folder) / "config.json").is_file():
        raise ModelNotFound(f"no model in the folder {_shown(folder)}", do="give a folder with config.json and safetensors")
    try:
        return kind.from_pretrained(folder, local_files_only=local, **options)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, UnpicklingError, SafetensorError) as error:
        if not local and isinstance(error, OSError):
            problem = f"the model {name!r} cannot be fetched: {_first_line(error)}"
            raise ModelNotFound(problem, do="check its name and the network, or give a local folder") from None
        why = _first_line(error).replace(str(folder), Path(folder).name)
        raise CheckpointMismatch(f"the model in {_shown(folder)} cannot be loaded: {why}") from None


@contextmanager
def without_bars(*, unless: bool = False) -> Iterator[None]:
    """Hide transformers' progress bars."""
    shown = logging.is_progress_bar_enabled()
    if not unless:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _shown(folder: str | Path) -> str:
    return repr(Path(folder).name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
