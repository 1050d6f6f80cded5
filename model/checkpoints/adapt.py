"""Loading a GPT4RoI with other options than in training: image size, mask pooling, focal crops.

Nothing is trained here. Weights are unchanged, except position embeddings, which are interpolated to the new grid.
"""

import copy
from math import isqrt
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel
from transformers.initialization import no_init_weights

from roi_agent.model.checkpoints.dtypes import stored_dtype
from roi_agent.model.checkpoints.loading import load_model, load_part
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor

MAX_IMAGE_SIZE = 4096  # pixels


def load_adapted(
    folder: str | Path,
    *,
    image_size: int | None = None,
    scale_pyramid: bool | None = None,
    mask_pooling: bool | None = None,
    focal_crop: bool | None = None,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """Load model and processor with other options; None keeps the option of the folder.

    For example, `load_adapted("gpt4roi-7b", image_size=336)` runs a checkpoint of 224 px at 336 px.  Both can be saved.
    image_size, scale_pyramid: see `at_image_size`.  mask_pooling, focal_crop: see `GPT4RoIConfig`.
    dtype: by default the stored one.  Weights are converted and moved to the device a few megabytes at a time.
    Raises InvalidSetting for an image size that is not allowed, and the errors of `load_model`.
    """
    model = _load(Path(folder), dtype, torch.device(device)) if Path(folder).is_dir() else None
    if model is None:
        model = load_model(GPT4RoIForConditionalGeneration, folder, dtype=dtype or "auto").to(device)
    processor = load_part(GPT4RoIProcessor, folder)
    options: dict[str, Any] = {"scale_pyramid": scale_pyramid, "mask_pooling": mask_pooling, "focal_crop": focal_crop}
    wanted = with_options(model.config, image_size=image_size, **options)
    adapt_model(model, wanted)
    adapt_processor(processor, wanted)
    return model, processor


def _load(folder: Path, dtype: torch.dtype | None, device: torch.device) -> GPT4RoIForConditionalGeneration | None:
    """Load a local folder in windows; None if transformers can map its files because dtype and device match."""
    stored, _ = stored_dtype(folder)
    wanted = dtype or stored
    if wanted is None or (wanted == stored and device.type == "cpu"):
        return None
    from roi_agent.model.checkpoints.saved import load_windowed

    return load_windowed(folder, wanted, device)


def with_options(
    config: GPT4RoIConfig,
    *,
    image_size: int | None = None,
    scale_pyramid: bool | None = None,
    mask_pooling: bool | None = None,
    focal_crop: bool | None = None,
) -> GPT4RoIConfig:
    """The configuration with other options, as in `load_adapted`.  Error: InvalidSetting."""
    size = config.image_size if image_size is None else image_size
    wanted = at_image_size(config, size, scale_pyramid=scale_pyramid)
    wanted.mask_pooling = wanted.mask_pooling if mask_pooling is None else mask_pooling
    wanted.focal_crop = wanted.focal_crop if focal_crop is None else focal_crop
    return wanted


def at_image_size(config: GPT4RoIConfig, image_size: int, *, scale_pyramid: bool | None = None) -> GPT4RoIConfig:
    """The configuration at another image size, in pixels, with one image token per cell of the new grid.

    scale_pyramid: scale the pyramid's maps with the image. By default, maps over a tower of patches, such as CLIP, keep their
        sizes, since they enlarge one coarse grid: a fused cell then covers the same share of the image as in training, and the
        region encoder, the most expensive part of encoding, costs the same. Maps over a tower with several resolutions, such
        as a ResNet, are scaled: at their old sizes they would lose the additional detail. `costs` computes the cost of both.
    Raises InvalidSetting unless patches and image tokens are whole numbers.
    """
    wanted = copy.deepcopy(config)
    if image_size == config.image_size:
        return wanted
    patch = getattr(config.vision_config, "patch_size", None)
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not whole or not 0 < image_size <= MAX_IMAGE_SIZE or image_size % (patch or 1):
        raise InvalidSetting(f"the image size {image_size}", do=f"give a multiple of {patch or 1} up to {MAX_IMAGE_SIZE}")
    cells, left = divmod(isqrt(config.num_image_tokens) * image_size, config.image_size)
    if left or not cells:
        step = config.image_size // isqrt(config.num_image_tokens)
        raise InvalidSetting(f"at {image_size} px the image tokens form no square grid", do=f"give a multiple of {step}")
    wanted.image_size, wanted.num_image_tokens = image_size, cells**2
    if scale_pyramid if scale_pyramid is not None else patch is None:
        wanted.pyramid_sizes = [max(1, round(side * image_size / config.image_size)) for side in config.pyramid_sizes]
    vision: Any = wanted.vision_config
    if hasattr(vision, "image_size"):
        vision.image_size = image_size
    return wanted


def adapt_model(model: GPT4RoIForConditionalGeneration, wanted: GPT4RoIConfig) -> None:
    """Change a model to a configuration of `with_options`, in place."""
    # The region encoder reads the same configuration object.
    assert model.region_encoder.config is model.config
    if wanted.image_size != model.config.image_size:
        model.vision_tower = _tower_at(model.vision_tower, wanted.vision_config, wanted.num_prefix_tokens)
    for name in ("image_size", "num_image_tokens", "pyramid_sizes", "vision_config", "mask_pooling", "focal_crop"):
        setattr(model.config, name, getattr(wanted, name))
    if not wanted.focal_crop:
        model.region_encoder.focal_gate = None
    elif model.region_encoder.focal_gate is None:
        zeros = torch.zeros(wanted.region_dim, dtype=model.dtype, device=model.device)
        model.region_encoder.focal_gate = nn.Parameter(zeros)


def adapt_processor(processor: GPT4RoIProcessor, wanted: GPT4RoIConfig) -> None:
    """Change a processor to a configuration, in place."""
    side = wanted.image_size
    processor.image_processor.size = {"height": side, "width": side}
    processor.num_image_tokens = wanted.num_image_tokens
    processor.mask_bins, processor.focal_crop = wanted.mask_bins, wanted.focal_crop


def _tower_at(tower: nn.Module, config: Any, num_prefix_tokens: int) -> nn.Module:
    """A copy of the tower at the configuration's image size."""
    weights = tower.state_dict()
    some = next(tower.parameters())
    with no_init_weights():  # copied from the old tower below
        made: nn.Module = AutoModel.from_config(config, dtype=some.dtype).to(some.device)
    for name, new in made.state_dict().items():
        if weights[name].shape != new.shape:
            assert "position_embedding" in name, name
            weights[name] = _interpolated(weights[name], new, num_prefix_tokens)
    made.load_state_dict(weights)
    return made.train(tower.training)


def _interpolated(old: Tensor, new: Tensor, num_prefix_tokens: int) -> Tensor:
    """Position embeddings (..., prefix + s * s, C) on another grid, as in transformers' `interpolate_pos_encoding`."""
    prefix, patches = old.reshape(-1, old.shape[-1]).split([num_prefix_tokens, old.shape[-2] - num_prefix_tokens])
    small, large = isqrt(len(patches)), isqrt(new.shape[-2] - num_prefix_tokens)
    grid = patches.float().T.reshape(1, -1, small, small)
    grown = F.interpolate(grid, (large, large), mode="bicubic", align_corners=False)
    return torch.cat([prefix, grown.flatten(2)[0].T.to(old.dtype)]).reshape(new.shape)
