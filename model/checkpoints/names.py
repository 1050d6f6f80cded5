"""The names, tokens and configuration of published GPT4RoI checkpoints.

Facts about the release (arXiv 2307.03601 and its files): LLaMA's usual names, `model.mm_projector`, `model.spi_module`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig

from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig

Value = TypeVar("Value")
Shape = tuple[int, ...]

_RENAMES = (
    (r"model\.spi_module\.mlvl_fuse\.input_conv\.(\d+)\.", r"region_encoder.input_convs.\1."),
    (r"model\.spi_module\.mlvl_fuse\.fuse_convs\.(\d+)\.conv\.", r"region_encoder.fusions.\1.conv."),
    (r"model\.spi_module\.mlvl_fuse\.fuse_convs\.(\d+)\.gn\.", r"region_encoder.fusions.\1.norm."),
    (r"model\.spi_module\.roi_align\.pconvs\.(\d+)\.", r"region_encoder.merge_convs.\1."),
    (r"model\.spi_module\.roi_align\.pos_embedd\.(\d+)\.", r"region_encoder.position.\1."),
    (r"model\.spi_module\.roi_align\.updims\.", "region_encoder.up."),
    (r"model\.spi_module\.roi_align\.flatten_linear\.", "region_encoder.flatten."),
    (r"model\.mm_projector\.", "projector."),
    (r"model\.vision_tower\.(?:\d+\.|vision_tower\.)?(?:vision_model\.)?", "vision_tower."),
    (r"model\.(embed_tokens|norm|layers\.\d+)\.(?!.*inv_freq$)", r"language_model.model.\1."),
    (r"lm_head\.", "language_model.lm_head."),
)
_RENAMES_COMPILED = tuple((re.compile(pattern), replacement) for pattern, replacement in _RENAMES)

# Tokens that the model looks for, and the configuration's fields of their ids.
ID_FIELDS = {
    "<im_patch>": "image_token_id",
    "<bbox>": "region_token_id",
    "<im_start>": "image_start_token_id",
    "<im_end>": "image_end_token_id",
}
_TEXT_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_MORE_TEXT_KEYS = (
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "max_position_embeddings",
    "rope_theta",
    "rope_scaling",
)
_DEFAULT_GROUPS = 64  # of the fusions' GroupNorm; not derivable from the weights


def rename_published(state_dict: Mapping[str, Value]) -> dict[str, Value]:
    """Rename values (tensors, shapes, anything) to the names of GPT4RoIForConditionalGeneration.

    Other names are kept, so that a strict load reports them.
    Raises CheckpointMismatch if two names become one.
    """
    renamed: dict[str, Value] = {}
    for name, value in state_dict.items():
        new = our_name(name)
        if new in renamed:
            raise CheckpointMismatch(f"{name} and another name both become {new}")
        renamed[new] = value
    return renamed


def our_name(name: str) -> str:
    """Our name for a published one; any other name is returned unchanged."""
    for pattern, replacement in _RENAMES_COMPILED:
        match = pattern.match(name)
        if match:
            return match.expand(replacement) + name[match.end() :]
    return name


def read_config(folders: Iterable[Path]) -> dict[str, Any]:
    """Read `config.json` of the first folder that has one.  Raises ModelNotFound, CheckpointMismatch."""
    for folder in folders:
        if (folder / "config.json").is_file():
            return read_json(folder / "config.json")
    raise ModelNotFound("no config.json in the checkpoint", do="give the folder as it was published")


def published_config(
    raw: Mapping[str, Any], shapes: Mapping[str, Shape], vision: PreTrainedConfig, ids: Mapping[str, int]
) -> GPT4RoIConfig:
    """The configuration of a checkpoint.

    raw: its config.json.  shapes: its tensors' shapes under our names.  vision: the tower's configuration.
    ids: from `token_ids`.  Raises CheckpointMismatch if they are inconsistent.
    """
    try:
        numbers = _region_numbers(shapes, vision) | {field: ids[token] for token, field in ID_FIELDS.items()}
        return GPT4RoIConfig(vision_config=vision, text_config=text_config(raw, shapes, ids.get("[PAD]")), **numbers)
    except (KeyError, IndexError) as error:
        raise CheckpointMismatch(f"the checkpoint has no {error.args[0]}", do="give the folder as it was published") from None
    except (InvalidSetting, StrictDataclassError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise CheckpointMismatch(f"config.json and shapes do not describe a model: {' '.join(str(error).split())}") from None


def vision_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a vision tower, or of the tower in a CLIP of both."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError):  # whose text contains paths
        raise CheckpointMismatch(
            f"{folder.name!r} contains no configuration of a vision tower", do="give the folder of openai/clip-vit-large-patch14"
        ) from None
    tower: PreTrainedConfig = getattr(config, "vision_config", config)
    return tower


def text_config(raw: Mapping[str, Any], shapes: Mapping[str, Shape], pad_id: int | None) -> LlamaConfig:
    """The configuration of a LLaMA whose config.json may be LLaVA's.  shapes: under our names.  Error: KeyError."""
    raw = {**raw, **(raw.get("text_config") or {})}
    num_rows = shapes["language_model.model.embed_tokens.weight"][0]
    numbers = {key: raw[key] for key in _TEXT_KEYS}
    numbers |= {key: raw[key] for key in _MORE_TEXT_KEYS if raw.get(key) is not None}
    numbers.setdefault("max_position_embeddings", 2048)
    tied = bool(raw.get("tie_word_embeddings")) and "language_model.lm_head.weight" not in shapes
    # LLaMA's tokenizer begins with <unk> <s> </s>; several old config.json files say 0 and 1, which is wrong.
    return LlamaConfig(
        vocab_size=num_rows, tie_word_embeddings=tied, bos_token_id=1, eos_token_id=2, pad_token_id=pad_id, **numbers
    )


def _region_numbers(shapes: Mapping[str, Shape], vision: PreTrainedConfig) -> dict[str, Any]:
    """Fields that follow from the region encoder's shapes and the tower."""
    channels = shapes["region_encoder.merge_convs.0.weight"][0]
    region_dim, flat = shapes["region_encoder.flatten.weight"]
    num_levels = _count(shapes, "region_encoder.merge_convs")
    grid = int(vision.image_size) // int(vision.patch_size)
    return {
        "region_layers": region_layers(int(vision.num_hidden_layers), num_levels),
        "pyramid_sizes": [grid << level for level in reversed(range(num_levels))],
        "region_channels": channels,
        "region_dim": region_dim,
        "num_fusions": _count(shapes, "region_encoder.fusions"),
        "fusion_groups": math.gcd(_DEFAULT_GROUPS, channels),
        "roi_size": max(1, math.isqrt(flat // channels)),
        "position_dim": shapes["region_encoder.position.0.weight"][0],
        "image_size": int(vision.image_size),
        "num_image_tokens": grid**2,
    }


def _count(shapes: Mapping[str, Shape], prefix: str) -> int:
    """Length of a list of modules, by its highest number, so that a gap is a missing key."""
    numbers = [int(match[1]) for name in shapes if (match := re.match(re.escape(prefix) + r"\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def region_layers(num_layers: int, num_levels: int) -> list[int]:
    """Hidden states from -2 backwards in steps of three, or fewer in a shallow tower; shallow first."""
    step = min(3, (num_layers - 1) // max(1, num_levels - 1))
    return [-2 - step * level for level in reversed(range(num_levels))]


def read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise CheckpointMismatch(f"{file.name} is not JSON", do="download it again") from None
    if not isinstance(content, dict):
        raise CheckpointMismatch(f"{file.name} contains no JSON object", do="download it again")
    return content
