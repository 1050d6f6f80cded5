"""A GPT4RoI combined from the folders of a language model and of a vision tower."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from roi_agent.model.checkpoints.loading import load_model
from roi_agent.model.checkpoints.names import our_name, read_config, read_json, region_layers, text_config, vision_config
from roi_agent.model.checkpoints.shards import WeightFolder, check_weight_folder, open_weights
from roi_agent.model.checkpoints.vocabulary import load_tokenizer
from roi_agent.model.errors import CheckpointMismatch, ModelNotFound
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor, new_processor, register_special_tokens
from roi_agent.model.train.parameters import reinitialize

_PREPROCESSOR = "preprocessor_config.json"


def combine_bases(
    language_model: Path, vision: Path, projector: Path | None
) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """Combine a language model and a vision tower; the region encoder is random, and so is the projector if none is given.

    language_model, vision: folders in Hugging Face's layout.  projector: LLaVA's file `mm_projector.bin`.
    Sizes that the bases do not fix are the published ones.  Errors: ModelNotFound, CheckpointMismatch.
    """
    config, processor = describe_bases(language_model, vision)
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration._from_config(config, dtype=torch.float32)
    model.vision_tower = _tower(vision)
    model.language_model = _language_model(language_model, config.text_config)
    config.text_config = model.language_model.config
    for part in ("region_encoder", "projector"):
        getattr(model, part).to_empty(device="cpu")
        reinitialize(model, part)
    if projector:
        _load_projector(model, projector)
    _extend_vocabulary(model, processor.tokenizer)
    return model, processor


def describe_bases(language_model: Path, vision: Path) -> tuple[GPT4RoIConfig, GPT4RoIProcessor]:
    """The configuration, with the language model's vocabulary size, and the processor, with the architecture's tokens."""
    tokenizer = load_tokenizer([language_model])
    text = _text_config(language_model)
    ids = register_special_tokens(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = "[PAD]"
    config = _config(text, vision_config(vision), ids)
    processor = new_processor(config, tokenizer)
    if (vision / _PREPROCESSOR).is_file():  # the pixels that the tower was trained on
        values = read_json(vision / _PREPROCESSOR)
        for name in ("image_mean", "image_std"):
            setattr(processor.image_processor, name, values.get(name) or getattr(processor.image_processor, name))
    return config, processor


def _tower(folder: Path) -> nn.Module:
    """The vision tower of a folder, which may hold a text tower too, as CLIP."""
    check_weight_folder(folder)
    whole = load_model(AutoModel, folder, dtype=torch.float32)
    tower: nn.Module = getattr(whole, "vision_model", whole)
    return tower


def _language_model(folder: Path, config: Any) -> Any:
    """A causal language model, which generates by its configuration and not by the folder's `generation_config.json`."""
    check_weight_folder(folder)
    model = load_model(AutoModelForCausalLM, folder, config=config, dtype=torch.float32)
    model.generation_config = GenerationConfig.from_model_config(model.config)
    return model


def _text_config(folder: Path) -> Any:
    """The configuration of a causal language model, or of the LLaMA in an old LLaVA, which transformers does not know."""
    raw = read_config([folder])
    try:
        if raw.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return AutoConfig.from_pretrained(folder, local_files_only=True)
        shapes = {our_name(name): entry.shape for name, entry in WeightFolder(folder).entries.items()}
        return text_config(raw, shapes, None)
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointMismatch(f"{folder.name!r} contains no configuration of a language model") from None


def _config(text: Any, tower: Any, ids: dict[str, int]) -> GPT4RoIConfig:
    grid, num_prefix_tokens = _grid(tower)
    return GPT4RoIConfig(
        vision_config=tower,
        text_config=text,
        num_prefix_tokens=num_prefix_tokens,
        region_layers=region_layers(tower.num_hidden_layers, 4),
        pyramid_sizes=[grid << level for level in reversed(range(4))],
        image_size=tower.image_size,
        num_image_tokens=grid * grid,
        image_token_id=ids["<im_patch>"],
        region_token_id=ids["<bbox>"],
        image_start_token_id=ids["<im_start>"],
        image_end_token_id=ids["<im_end>"],
    )


def _grid(config: Any) -> tuple[int, int]:
    """Patches along a side of a tower's image, and tokens before them, counted in a run on the meta device."""
    try:
        size, side = config.image_size, config.image_size // config.patch_size
        with torch.device("meta"):
            tower = AutoModel.from_config(config)
            _, count, _ = tower(torch.empty(1, 3, size, size), output_hidden_states=True).hidden_states[-2].shape
    except (AttributeError, TypeError, ValueError, RuntimeError):
        count = side = 0
    if not 0 < side**2 <= count:
        problem = f"a vision tower of type {config.model_type!r} does not return one square grid of patches"
        raise CheckpointMismatch(problem, do="give a vision transformer, as CLIP, SigLIP or DINO")
    return side, count - side**2


def _load_projector(model: GPT4RoIForConditionalGeneration, file: Path) -> None:
    """Load LLaVA's projector, saved under any prefix.  Errors: ModelNotFound, CheckpointMismatch."""
    if not file.is_file():
        raise ModelNotFound(f"there is no projector {file.name!r}", do="give LLaVA's file mm_projector.bin")
    opened = open_weights(file)
    names = list(opened.keys())
    with torch.no_grad():
        for kind, target in model.projector.named_parameters():
            name = next((each for each in names if each.split(".")[-1] == kind), None)
            if name is None:
                raise CheckpointMismatch(
                    f"{file.name} contains no {kind} of a projector", do="give LLaVA's file mm_projector.bin"
                )
            value = opened[name] if isinstance(opened, dict) else opened.get_tensor(name)
            if value.shape != target.shape:
                problem = f"the projector's {kind} is {tuple(value.shape)}, and the model's {tuple(target.shape)}"
                raise CheckpointMismatch(problem, do="give the projector of the same two models")
            target.copy_(value)


def _extend_vocabulary(model: GPT4RoIForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
    """Add embedding rows for the architecture's tokens, initialised with the mean of the others."""
    rows, wanted = model.config.vocab_size, len(tokenizer)
    if wanted > rows:
        model.language_model.resize_token_embeddings(wanted, mean_resizing=False)
        with torch.no_grad():
            for table in (model.get_input_embeddings(), model.get_output_embeddings()):
                weight: Any = table.weight
                weight[rows:] = weight[:rows].mean(0)
        model.config.text_config.vocab_size = wanted  # type: ignore[union-attr]
    model.config.text_config.pad_token_id = tokenizer.pad_token_id  # type: ignore[union-attr]
