"""The hidden states of a vision tower that are asked for; the layers after the last of them do not run."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def hidden_states(tower: PreTrainedModel, pixel_values: Tensor, indices: Sequence[int]) -> list[Tensor]:
    """The states at the indices, negative ones too, among all those that the tower returns.

    In training, and where the tower's layers cannot be told, every layer runs.
    """
    path = None if torch.is_grad_enabled() or torch.compiler.is_compiling() else _path_of_layers(tower)
    if path is not None:
        count = len(list(tower.get_submodule(path).children()))
        numbers = [index if index >= 0 else count + 1 + index for index in indices]
        # State 0 is no layer's output, and some towers put the last one through a norm.
        if min(numbers) > 0 and max(numbers) < count:
            return _shortened(tower, pixel_values, path, numbers)
    states = tower(pixel_values, output_hidden_states=True).hidden_states
    return [states[index] for index in indices]


def _path_of_layers(tower: PreTrainedModel) -> str | None:
    """Where the list stands that holds all the layers whose outputs the tower declares to be its hidden states."""
    kind = getattr(tower, "can_record_outputs", {}).get("hidden_states")
    if not isinstance(kind, type):
        return None
    count = sum(isinstance(module, kind) for module in tower.modules())
    for path, module in tower.named_modules():
        if isinstance(module, nn.ModuleList) and [isinstance(layer, kind) for layer in module] == [True] * count:
            names = path.split(".")
            around = (tower.get_submodule(".".join(names[:depth])) for depth in range(len(names)))
            return path if all(map(_runs_its_own_code, around)) else None
    return None


def _runs_its_own_code(module: nn.Module) -> bool:
    """Neither compiled nor given another forward (accelerate does so), which would run on the original and not on a view."""
    return "forward" not in vars(module) and module._compiled_call_impl is None


def _shortened(tower: nn.Module, pixel_values: Tensor, path: str, numbers: list[int]) -> list[Tensor]:
    """Run a view of the tower that has the needed layers only.  Nothing is hooked or changed: other threads may use it."""
    states: dict[int, Tensor] = {}
    layers = list(tower.get_submodule(path).children())[: max(numbers)]
    kept = (_Kept(layer, number, states) if number in numbers else layer for number, layer in enumerate(layers, 1))
    _with(tower, path, nn.ModuleList(kept))(pixel_values, output_hidden_states=False)
    return [states[number] for number in numbers]


def _with(module: nn.Module, path: str, other: nn.Module) -> nn.Module:
    """A copy of the module with another submodule at the path; everything else is shared."""
    name, _, rest = path.partition(".")
    view = copy.copy(module)
    view._modules = {**module._modules, name: _with(module.get_submodule(name), rest, other) if rest else other}
    return view


class _Kept(nn.Module):
    """A layer that notes what it returns."""

    def __init__(self, layer: nn.Module, number: int, states: dict[int, Tensor]) -> None:
        super().__init__()
        self.layer, self.number, self.states = layer, number, states

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.layer(*args, **kwargs)
        self.states[self.number] = output[0] if isinstance(output, tuple) else output
        return output
