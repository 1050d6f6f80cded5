"""Parameters in training: random initialisation, which of them learn, and their dtypes."""

import torch
from torch import nn

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration


def reinitialize(model: GPT4RoIForConditionalGeneration, part: str) -> None:
    """Initialise a part with random weights.  Error: InvalidSetting."""
    if part not in ("region_encoder", "projector", "vision_tower"):
        raise InvalidSetting(f"{part!r} cannot be reset", do="reset region_encoder, projector or vision_tower")
    module = getattr(model, part)
    for each in (*module.parameters(), *module.modules()):
        each._is_hf_initialized = False
    module.apply(model._init_weights)


def freeze_all_but(model: nn.Module, trained: tuple[str, ...]) -> list[nn.Parameter]:
    """Freeze all parameters outside the named modules, and put modules without trainable ones in evaluation mode.

    Returns the trainable parameters.  Error: InvalidSetting for a module that the model does not have.
    """
    known = dict(model.named_modules())
    if unknown := [each for each in trained if each not in known]:
        raise InvalidSetting(f"the model has no module {unknown[0]!r}", do="name modules of the model under trained")
    model.train()
    learning = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(f"{name}.".startswith(f"{each}.") for each in trained))
        if parameter.requires_grad:
            learning.append(parameter)
    for module in model.modules():
        if not any(parameter.requires_grad for parameter in module.parameters()):
            module.eval()
    return learning


def cast(model: nn.Module, frozen: torch.dtype, learning: torch.dtype = torch.float32) -> None:
    """Cast frozen and trainable parameters to their dtypes, without intermediate rounding.

    Non-persistent buffers are unchanged: rotary frequencies are float32 in every model.
    """
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.to(learning if parameter.requires_grad else frozen)
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and name not in module._non_persistent_buffers_set:
                buffer.data = buffer.data.to(frozen)
