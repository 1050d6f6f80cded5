"""Conversion of published GPT4RoI weights, a delta on LLaMA or merged, checked completely before any weight is read.

names and shapes of all files -> configuration -> source of every key (or an error) -> weights, block by block.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from transformers import CLIPVisionConfig, PreTrainedConfig

from roi_agent.model.checkpoints.dtypes import DTYPES
from roi_agent.model.checkpoints.loading import without_bars
from roi_agent.model.checkpoints.merge import OnProgress, Source, copy_weights, materialise, plan_sources
from roi_agent.model.checkpoints.names import our_name, published_config, read_config, vision_config
from roi_agent.model.checkpoints.report import REPORT_NAME, LoadReport
from roi_agent.model.checkpoints.shards import WeightFolder, is_weight_folder
from roi_agent.model.checkpoints.target import check_disk, check_empty
from roi_agent.model.checkpoints.vocabulary import published_processor, token_ids
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.utils.atomic_files import atomic_folder
from roi_agent.model.utils.progress import progress_bar, waiting

_SHARD_SIZE = "2GB"


def load_published(
    path: str | Path,
    base: str | Path | None = None,
    vision: str | Path | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
    show_progress: bool = True,
) -> GPT4RoIForConditionalGeneration:
    """Load published weights as a model that is ready to use.

    path: folder of the checkpoint.  base: folder of the LLaMA that it is a delta on; None for merged weights.
    vision: folder of openai/clip-vit-large-patch14; default: in the checkpoint, or the local folder that its config names.
    dtype: float32, bfloat16 or float16; default: the checkpoint's.  on_progress: called with bytes done and total bytes.
    Peak memory is at most 1.3 times that of the result.  Raises ModelNotFound for missing files, CheckpointMismatch for
    weights that do not match, InvalidSetting for dtype and device.
    """
    return load_with_report(path, base, vision, dtype=dtype, device=device, on_progress=on_progress, show_progress=show_progress)[
        0
    ]


def load_with_report(
    path: str | Path,
    base: str | Path | None = None,
    vision: str | Path | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    on_progress: OnProgress | None = None,
    show_progress: bool = True,
) -> tuple[GPT4RoIForConditionalGeneration, LoadReport]:
    """As `load_published`, with a report on every key."""
    planned = _plan(path, base, vision, dtype)
    return _fill(planned, _device(device), on_progress, show_progress), planned.report


def convert(
    path: str | Path,
    out: str | Path,
    *,
    base: str | Path | None = None,
    vision: str | Path | None = None,
    dtype: str | torch.dtype | None = "float16",
    on_progress: OnProgress | None = None,
    show_progress: bool = True,
) -> LoadReport:
    """Convert published weights to a Hugging Face folder with safetensors, processor, and the report `conversion.json`.

    The folder is written atomically.  Raises as `load_published`, and InvalidSetting for an `out` that is not empty or a
    disk without enough space.
    """
    out = Path(out)
    check_empty(out)
    planned = _plan(path, base, vision, dtype)
    check_disk(out, planned.num_bytes)
    processor = published_processor(path, planned.model.config, base)
    model = _fill(planned, torch.device("cpu"), on_progress, show_progress)
    with atomic_folder(out) as folder, waiting(f"writing {out.name}", show_progress), without_bars():
        model.save_pretrained(folder, max_shard_size=_SHARD_SIZE)
        processor.save_pretrained(folder)
        (folder / REPORT_NAME).write_text(json.dumps(planned.report.to_dict(), indent=1) + "\n")
    return planned.report


@dataclass(frozen=True, slots=True)
class _Planned:
    """A model on the meta device, and the source of each tensor."""

    model: GPT4RoIForConditionalGeneration
    sources: dict[str, Source]
    report: LoadReport
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return self.report.num_parameters * self.dtype.itemsize


def _plan(path: str | Path, base: str | Path | None, vision: str | Path | None, dtype: str | torch.dtype | None) -> _Planned:
    """Determine, and check, all that is known before any weight is read."""
    folder, base_folder = Path(path), Path(base) if base is not None else None
    chosen = _dtype(dtype)
    published = WeightFolder(folder)
    raw = read_config([folder, *([base_folder] if base_folder else [])])
    _check_delta(folder, raw, base_folder)
    base_weights = WeightFolder(base_folder) if base_folder else None
    tower = _tower_folder(vision, raw, published)
    tower_weights = WeightFolder(tower) if tower else None
    config, notes = _config(raw, published, folder, tower)
    config.dtype = chosen or _usual_dtype(published)
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration._from_config(config, dtype=config.dtype)
    tied = set(model.all_tied_weights_keys)
    expected = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    sources, report = plan_sources(expected, published, base_weights, tower_weights)
    notes += report.notes
    report = replace(report, notes=notes, num_parameters=model.num_parameters(), dtype=str(config.dtype).removeprefix("torch."))
    return _Planned(model, sources, report, config.dtype)


def _config(
    raw: dict[str, Any], published: WeightFolder, folder: Path, tower: Path | None
) -> tuple[GPT4RoIConfig, tuple[str, ...]]:
    """The configuration, and notes on assumptions."""
    shapes = {our_name(name): entry.shape for name, entry in published.entries.items()}
    rows = shapes.get("language_model.model.embed_tokens.weight", ())
    if len(rows) != 2:
        raise CheckpointMismatch(
            "the checkpoint has no model.embed_tokens.weight of two dimensions", do="give the published folder"
        )
    ids, token_notes = token_ids(folder, rows[0])
    config = published_config(raw, shapes, vision_config(tower) if tower else _inner_tower(raw), ids)
    notes = [*token_notes]
    if raw.get("vocab_size") not in (None, rows[0]):
        notes.append(f"config.json has {raw['vocab_size']} tokens and the embedding {rows[0]} rows; the rows are used")
    if config.region_layers != [-2 - 3 * level for level in reversed(range(config.num_levels))]:
        notes.append(f"the vision tower is not deep enough for the published layers: {config.region_layers} are assumed")
    return config, tuple(notes)


def _inner_tower(raw: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a tower in the checkpoint: its own, or that of the release."""
    own = raw.get("vision_config")
    if isinstance(own, dict):
        return CLIPVisionConfig(**{key: value for key, value in own.items() if key != "model_type"})
    released = GPT4RoIConfig.preset("gpt4roi-7b").vision_config
    assert isinstance(released, PreTrainedConfig)
    return released


def _tower_folder(vision: str | Path | None, raw: dict[str, Any], published: WeightFolder) -> Path | None:
    """The folder of the vision tower; None if the checkpoint contains the tower."""
    if vision is not None:
        return Path(vision)
    if any(our_name(name).startswith("vision_tower.") for name in published.entries):
        return None
    named = raw.get("mm_vision_tower")
    if isinstance(named, str) and is_weight_folder(named):
        return Path(named)
    raise ModelNotFound(
        "the vision tower is not in the checkpoint",
        do="download openai/clip-vit-large-patch14 from Hugging Face and give its folder as vision",
    )


def _check_delta(folder: Path, raw: dict[str, Any], base: Path | None) -> None:
    named = "delta" in folder.resolve().name.lower() and "merged" not in folder.resolve().name.lower()
    marked = any("delta" in key.lower() and value for key, value in raw.items())
    if base is None and (named or marked):
        raise CheckpointMismatch(
            f"{folder.name!r} is a delta on LLaMA and cannot be used alone",
            do="give the folder of LLaMA-7B in Hugging Face's layout as base; if it is merged already, rename it",
        )


def _usual_dtype(published: WeightFolder) -> torch.dtype:
    """The dtype of most of the checkpoint's numbers."""
    sizes: dict[torch.dtype, int] = dict.fromkeys(DTYPES.values(), 0)
    for entry in published.entries.values():
        if entry.dtype in sizes:
            sizes[entry.dtype] += entry.num_bytes
    return max(sizes, key=sizes.__getitem__)


def _fill(
    planned: _Planned, device: torch.device, on_progress: OnProgress | None, show_progress: bool
) -> GPT4RoIForConditionalGeneration:
    model = planned.model
    materialise(model, planned.dtype, device)
    with torch.no_grad(), _bar(show_progress) as shown:
        copy_weights(model, planned.sources, lambda done, total: _notify(done, total, shown, on_progress))
    model.eval()
    return model


def _notify(done: int, total: int, *listeners: OnProgress | None) -> None:
    for listener in listeners:
        if listener is not None:
            listener(done, total)


@contextmanager
def _bar(shown: bool) -> Iterator[OnProgress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with progress_bar(shown, *columns) as progress:
        task = progress.add_task("loading weights")
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _dtype(given: str | torch.dtype | None) -> torch.dtype | None:
    if given is None:
        return None
    dtype = DTYPES.get(str(given).removeprefix("torch."))
    if dtype is None:
        raise InvalidSetting(f"the type {given!r} is unknown", do=f"use {', '.join(DTYPES)}")
    return dtype


def _device(given: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=given).device
    except (RuntimeError, AssertionError):
        raise InvalidSetting(f"the device {str(given)!r} cannot be used here", do="roi-agent doctor lists the devices") from None
