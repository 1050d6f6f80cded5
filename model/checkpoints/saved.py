"""Windowed loading of a saved GPT4RoI, directly into the target dtype and device."""

from pathlib import Path

import torch

from roi_agent.model.checkpoints.loading import load_part
from roi_agent.model.checkpoints.merge import copy_weights, materialise, plan_sources
from roi_agent.model.checkpoints.shards import WeightFolder
from roi_agent.model.errors import CheckpointMismatch, ModelNotFound
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration


def load_windowed(folder: Path, dtype: torch.dtype, device: torch.device) -> GPT4RoIForConditionalGeneration | None:
    """Load the model of a local folder; None for other names than ours, which transformers may still convert."""
    config = load_part(GPT4RoIConfig, folder)
    config.dtype = dtype
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration._from_config(config, dtype=dtype)
    tied = set(model.all_tied_weights_keys)
    expected = {name: each for name, each in model.state_dict().items() if name not in tied}
    try:
        sources, _ = plan_sources(expected, WeightFolder(folder), None, None)
    except (CheckpointMismatch, ModelNotFound):
        return None
    materialise(model, dtype, device)
    with torch.no_grad():
        copy_weights(model, sources, lambda done, total: None)
    loaded: GPT4RoIForConditionalGeneration = model.eval()
    return loaded
