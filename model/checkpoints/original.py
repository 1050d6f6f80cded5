"""Conversion of original files of SAM and Grounding DINO (`.pth`) to folders that transformers loads.

shapes -> configuration -> table of names (with every key, or an error) -> model -> folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    SamModel,
)

from roi_agent.model.checkpoints import grounding_dino, sam
from roi_agent.model.checkpoints.dtypes import DTYPES
from roi_agent.model.checkpoints.loading import without_bars
from roi_agent.model.checkpoints.nametable import NameTable
from roi_agent.model.checkpoints.report import REPORT_NAME, LoadReport, refuse
from roi_agent.model.checkpoints.shards import open_weights
from roi_agent.model.checkpoints.target import check_disk, check_empty
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from roi_agent.model.utils.atomic_files import atomic_folder
from roi_agent.model.utils.messages import escaped
from roi_agent.model.utils.progress import waiting

TOKENIZER = "google-bert/bert-base-uncased"  # of the published Grounding DINO

_WRAPPERS = ("model", "state_dict")  # keys of the weights in training checkpoints
_PREFIX = "module."  # of weights saved in multi-device training
_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")


def convert_original(
    file: str | Path,
    out: str | Path,
    *,
    tokenizer: str | Path | None = None,
    dtype: str | None = None,
    show_progress: bool = True,
) -> LoadReport:
    """Convert an original file of SAM (ViT-B, L, H) or Grounding DINO (Swin-T, B) to a Hugging Face folder.

    The folder, for `load_segmenter` or `load_detector`, is written atomically, with the report `conversion.json`.

    tokenizer: for Grounding DINO, the folder of bert-base-uncased's tokenizer; default: fetched from the hub.
    dtype: float32, bfloat16 or float16; default: the file's.  Nothing but tensors is unpickled.
    Raises ModelNotFound for missing files, CheckpointMismatch for weights that do not match, InvalidSetting for dtype and for
    an `out` that is not empty.
    """
    file, out = Path(file), Path(out)
    check_empty(out)
    if dtype is not None and dtype not in DTYPES:
        raise InvalidSetting(f"the type {escaped(dtype)} is unknown", do=f"use {', '.join(DTYPES)}")
    with waiting(f"converting {file.name}", show_progress), without_bars():
        weights = _weights(file)
        family = _family(weights, file)
        if tokenizer is not None and family is sam:
            raise InvalidSetting("SAM has no tokenizer", do="leave the tokenizer out")
        config = _config(family, weights, file)
        table: NameTable = family.name_table(config)
        ignored = _check(table, family, weights)
        if family is grounding_dino:
            grounding_dino.check_shared(weights)
            processor: Any = _dino_processor(tokenizer, config.text_config.vocab_size)
        else:
            processor = sam.processor_of(config)
        chosen = DTYPES[dtype] if dtype else _usual_dtype(weights)
        check_disk(out, sum(weights[name].numel() for name in table.places) * chosen.itemsize)
        kind: Any = GroundingDinoForObjectDetection if family is grounding_dino else SamModel
        model = _model(kind, config, table.renamed(weights), chosen)
        report = _report(table, ignored, model, chosen)
        with atomic_folder(out) as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            (folder / REPORT_NAME).write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    return report


def _weights(file: Path) -> dict[str, Tensor]:
    """Map the tensors of a file by name, without wrappers and the prefix of multi-device training."""
    if not file.is_file():
        raise ModelNotFound(f"there is no file {file.name!r}", do=f"give a file ending in {', '.join(_ENDINGS)}")
    if file.suffix not in _ENDINGS:
        raise ModelNotFound(f"{file.name!r} is not a file of weights", do=f"give a file ending in {', '.join(_ENDINGS)}")
    found = open_weights(file)
    if not isinstance(found, dict):  # a handle of safetensors
        found = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
    for wrapper in _WRAPPERS:
        if isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
            break
    strange = [str(name) for name, value in found.items() if not isinstance(value, Tensor) or not isinstance(name, str)]
    if strange:
        raise CheckpointMismatch(f"{file.name} contains more than tensors: {escaped(', '.join(strange[:5]))}")
    # A view may repeat one number a billion times; writing it would fill the disk.
    if any(value.numel() * value.element_size() > file.stat().st_size for value in found.values()):
        raise CheckpointMismatch(f"{file.name} has tensors larger than the file", do="download it again")
    return {name.removeprefix(_PREFIX): value for name, value in found.items()}


def _family(weights: Mapping[str, Tensor], file: Path) -> ModuleType:
    for family in (sam, grounding_dino):
        if family.MARK in weights:
            return family
    known = "SAM (sam_vit_b, l, h) and Grounding DINO (swint, swinb)"
    if any(name.startswith("image_encoder.trunk.") for name in weights):
        raise CheckpointMismatch(
            f"{file.name} is an original file of SAM 2", do="use the folder facebook/sam2-hiera-tiny of the hub"
        )
    first = escaped(", ".join(list(weights)[:3]))
    problem = f"{file.name} is no supported original file; it begins with {first}"
    raise CheckpointMismatch(problem, do=f"give one of {known}")


def _config(family: ModuleType, weights: Mapping[str, Tensor], file: Path) -> Any:
    try:
        return family.config_of({name: tuple(value.shape) for name, value in weights.items()})
    except KeyError as error:
        raise CheckpointMismatch(f"{file.name} lacks {error.args[0]}", do="download it again") from None
    except (IndexError, ValueError, ZeroDivisionError, StrictDataclassError):
        raise CheckpointMismatch(f"{file.name} has tensors of impossible shapes", do="download it again") from None


def _check(table: NameTable, family: ModuleType, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Refuse missing, unexpected, reshaped and integer tensors; returns ignored names with reasons."""
    ignored = {name: family.NEEDLESS[name] for name in weights if name in family.NEEDLESS}
    problems = [f"missing {name} of shape {place.shape}" for name, place in table.places.items() if name not in weights]
    for name, value in weights.items():
        shape, place = tuple(value.shape), table.places.get(name)
        if place is None and name not in ignored:
            problems.append(f"unexpected {name} of shape {shape}")
        elif place is not None and shape != place.shape:
            problems.append(f"{name} has shape {shape} in the file and {place.shape} in the model")
        elif place is not None and not value.is_floating_point():
            problems.append(f"{name} is {value.dtype}, not floating point")
    refuse(problems)
    return ignored


def _model(kind: Any, config: Any, weights: dict[str, Tensor], dtype: torch.dtype) -> Any:
    model, found = kind.from_pretrained(None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True)
    left = [f"{len(names)} {key.replace('_', ' ')}" for key, names in found.items() if names]
    if left:
        problem = f"transformers loads these weights differently: {', '.join(left)}"
        raise CheckpointMismatch(problem, do="install the tested versions")
    return model


def _dino_processor(tokenizer: str | Path | None, num_words: int) -> GroundingDinoProcessor:
    try:
        found = AutoTokenizer.from_pretrained(tokenizer or TOKENIZER, local_files_only=tokenizer is not None)
    except (OSError, ValueError, TypeError, KeyError):
        problem = (
            f"there is no tokenizer in {Path(tokenizer).name!r}" if tokenizer else f"the tokenizer {TOKENIZER} cannot be fetched"
        )
        raise ModelNotFound(problem, do=f"give the folder of {TOKENIZER} as tokenizer") from None
    if len(found) > num_words:
        problem = f"the tokenizer has {len(found)} words and the text encoder {num_words}"
        raise CheckpointMismatch(problem, do=f"give the tokenizer of {TOKENIZER}")
    return GroundingDinoProcessor(GroundingDinoImageProcessor(), found)


def _usual_dtype(weights: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype of most of the file's numbers."""
    sizes = dict.fromkeys(DTYPES.values(), 0)
    for value in weights.values():
        if value.dtype in sizes:
            sizes[value.dtype] += value.numel()
    return max(sizes, key=sizes.__getitem__)


def _report(table: NameTable, ignored: dict[str, str], model: Any, dtype: torch.dtype) -> LoadReport:
    taken = {new: old for old, place in table.places.items() for new in place.names}
    name = str(dtype).removeprefix("torch.")
    return LoadReport(taken, {}, ignored, (f"{type(model).__name__}",), model.num_parameters(), name)
