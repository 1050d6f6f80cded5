"""The hidden states that are asked for equal those of the whole tower, and no layer runs in vain."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BeitConfig,
    CLIPVisionConfig,
    ConvNextConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    PreTrainedConfig,
    ResNetConfig,
    SamVisionConfig,
    SiglipVisionConfig,
    SwinConfig,
    ViTConfig,
)

from roi_agent.model.gpt4roi.hidden_states import hidden_states

PLAIN: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
STAGES: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
STACKED: dict[str, PreTrainedConfig] = {
    "clip": CLIPVisionConfig(**PLAIN),
    "siglip": SiglipVisionConfig(**PLAIN),
    "vit": ViTConfig(**PLAIN),
    "dinov2": Dinov2Config(**PLAIN),
    "dinov2 with registers": Dinov2WithRegistersConfig(**PLAIN),
    "dinov3": DINOv3ViTConfig(**PLAIN),
    "beit": BeitConfig(**PLAIN),
}
# No list of layers here, or none that the tower declares to give its hidden states.
OTHERS: dict[str, PreTrainedConfig] = {
    "sam": SamVisionConfig(**PLAIN, output_channels=8, window_size=2, global_attn_indexes=[1]),
    "swin": SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2),
    "convnext": ConvNextConfig(**STAGES),
    "resnet": ResNetConfig(**STAGES, embedding_size=8, layer_type="basic"),
}


def make_tower(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(config).eval()


def picture() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def whole(tower: Any, indices: Sequence[int]) -> list[Tensor]:
    states = tower(picture(), output_hidden_states=True).hidden_states
    return [states[index] for index in indices]


def modules_run(tower: Any, indices: Sequence[int]) -> set[str]:
    """The names of the modules that run for these states."""
    seen: set[str] = set()
    hooks = [module.register_forward_hook(lambda *_, name=name: seen.add(name)) for name, module in tower.named_modules()]
    hidden_states(tower, picture(), indices)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
@pytest.mark.parametrize("name", [*STACKED, *OTHERS])
@pytest.mark.parametrize("indices", [(1, 2), (-2, -4, -3), (-2,), (3, 3), (0, 1), (-1,), (4, 1), (-5, 2)])
def test_the_states_are_those_of_the_whole_tower(name: str, indices: tuple[int, ...]) -> None:
    tower = make_tower((STACKED | OTHERS)[name])
    for state, wanted in zip(hidden_states(tower, picture(), indices), whole(tower, indices), strict=True):
        assert torch.equal(state, wanted)


@torch.no_grad()
@pytest.mark.parametrize("name", STACKED)
def test_layers_after_the_last_needed_do_not_run(name: str) -> None:
    tower = make_tower(STACKED[name])
    runs = {last: modules_run(tower, [1, last]) for last in (2, 3, -2, -1)}
    assert runs[2] < runs[3] == runs[-2] < runs[-1]


def test_learning_runs_the_whole_tower_and_gives_its_gradients() -> None:
    tower = make_tower(STACKED["clip"])
    assert modules_run(tower, [1, 2]) == modules_run(tower, [1, -1])
    (state,) = hidden_states(tower, picture(), [2])
    (wanted,) = whole(tower, [2])
    parameters = [each for name, each in tower.named_parameters() if "layers.0" in name or "embedding" in name]
    for each, other in zip(*(torch.autograd.grad(some.sin().sum(), parameters) for some in (state, wanted)), strict=True):
        assert torch.equal(each, other)


@torch.no_grad()
def test_a_tower_with_another_forward_runs_whole() -> None:
    tower = make_tower(STACKED["clip"])
    tower.forward = partial(tower.forward)  # as accelerate replaces it
    assert modules_run(tower, [1, 2]) == modules_run(tower, [1, -1])
    assert torch.equal(hidden_states(tower, picture(), [2])[0], whole(tower, [2])[0])


@torch.no_grad()
def test_nothing_of_the_tower_changes() -> None:
    tower = make_tower(STACKED["dinov2"])
    before = {name: id(module) for name, module in tower.named_modules()}
    names, hooks = list(tower.state_dict()), [len(module._forward_hooks) for module in tower.modules()]
    hidden_states(tower, picture(), [1, 3])
    assert before == {name: id(module) for name, module in tower.named_modules()}
    assert names == list(tower.state_dict()) and hooks == [len(module._forward_hooks) for module in tower.modules()]


def test_threads_ask_for_different_states_at_once() -> None:
    tower = make_tower(STACKED["clip"])
    with torch.no_grad():
        wanted = whole(tower, range(5))

    @torch.no_grad()
    def ask(number: int) -> bool:
        return torch.equal(hidden_states(tower, picture(), [1 + number % 4])[0], wanted[1 + number % 4])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
