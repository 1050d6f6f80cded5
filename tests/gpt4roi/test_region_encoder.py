"""The region encoder: equal to the published one, and steady under every box a caller may hand it."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig

from roi_agent.model.checkpoints import rename_published
from roi_agent.model.errors import BoxNotFinite, BoxOutOfBounds, RoiAgentError
from roi_agent.model.gpt4roi import resized_conv
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.region_encoder import RegionEncoder

DATA = Path(__file__).parents[1] / "fixtures"
BOXES = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0], [0.93, 0.9, 0.99, 0.97]])


# Weights and inputs made from names alone: the published region encoder gave the outputs in tests/fixtures for exactly
# these, so its weights need not be here.


def _normal(key: str, shape: Sequence[int]) -> Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


def published_weight(name: str, shape: Sequence[int]) -> Tensor:
    """A parameter: unit variance over fan-in for matrices, 1 + 0.1 n for norm weights, 0.1 n for biases."""
    values = _normal(name, shape)
    if len(shape) > 1:
        return torch.div(values, int(np.prod(shape[1:])) ** 0.5)
    return 1 + 0.1 * values if name.endswith("weight") else 0.1 * values


def network_input(name: str, shape: Sequence[int]) -> Tensor:
    """An input tensor of standard normal values."""
    return _normal("input:" + name, shape)


def small_config(levels: int = 4, **changes: Any) -> GPT4RoIConfig:
    """A region encoder over a tower of 8 channels with a grid of 4 x 4."""
    widths: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 11, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**widths, image_size=32, patch_size=8)
    text = LlamaConfig(vocab_size=32, hidden_size=24, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    numbers: dict[str, Any] = {
        "region_layers": [-1 - level for level in reversed(range(levels))],
        "pyramid_sizes": [4 << level for level in reversed(range(levels))],
        "region_channels": 16,
        "region_dim": 12,
        "num_fusions": 2,
        "fusion_groups": 4,
        "roi_size": 3,
        "position_dim": 8,
        "image_size": 32,
        "num_image_tokens": 16,
    }
    return GPT4RoIConfig(vision_config=vision, text_config=text, **(numbers | changes))


def make_encoder(levels: int = 4, **changes: Any) -> RegionEncoder:
    torch.manual_seed(0)
    return RegionEncoder(small_config(levels, **changes)).eval()


def features_for(encoder: RegionEncoder, images: int = 2, side: int = 4) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(images, side * side, 8) for _ in range(encoder.config.num_levels)]


@pytest.fixture(scope="module")
def published() -> RegionEncoder:
    """The published region encoder at 64 channels, its weights under their published names."""
    vision = CLIPVisionConfig(hidden_size=64, intermediate_size=8, num_hidden_layers=11, num_attention_heads=2)
    text = LlamaConfig(vocab_size=32006, hidden_size=4096, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    encoder = RegionEncoder(GPT4RoIConfig(vision_config=vision, text_config=text, region_channels=64))
    shapes = json.loads((DATA / "region_encoder_64_shapes.json").read_text())
    weights = rename_published({name: published_weight(name, shape) for name, shape in shapes.items()})
    encoder.load_state_dict({name.removeprefix("region_encoder."): value for name, value in weights.items()})
    return encoder.eval()


@torch.no_grad()
@pytest.mark.parametrize("interpolation_cost", [resized_conv._INTERPOLATION_COST, 0])  # at no cost all is interpolated last
def test_every_region_equals_the_published_encoder(
    published: RegionEncoder, monkeypatch: pytest.MonkeyPatch, interpolation_cost: int
) -> None:
    monkeypatch.setattr(resized_conv, "_INTERPOLATION_COST", interpolation_cost)
    wanted = load_file(DATA / "region_encoder_64.safetensors")
    features = [network_input(f"level{level}", (2, 256, 64)) for level in range(4)]
    boxes = [wanted["boxes_image0"], wanted["boxes_image1"]]
    assert [len(each) for each in boxes] == [3, 2]
    for index, vectors in enumerate(published(features, boxes)):
        for region, vector in enumerate(vectors):
            assert torch.allclose(vector, wanted[f"region_embeds_image{index}"][region], rtol=0, atol=1e-4), (index, region)


@torch.no_grad()
@pytest.mark.parametrize("counts", [(0, 0), (0, 1), (1, 0), (1, 1), (3, 0), (200, 1)])
def test_any_number_of_regions_in_each_image(counts: tuple[int, int]) -> None:
    encoder = make_encoder()
    features = features_for(encoder)
    boxes = [BOXES.repeat(67, 1)[:count] for count in counts]
    vectors = encoder(features, boxes)
    assert [tuple(each.shape) for each in vectors] == [(count, 24) for count in counts]
    for index, count in enumerate(counts):
        alone = encoder([level[index : index + 1] for level in features], [boxes[index]])[0]
        assert torch.allclose(vectors[index], alone, atol=1e-5)
        assert torch.allclose(vectors[index], vectors[index][:3].repeat(67, 1)[:count], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("num_fusions", [0, 1, 2, 3])
def test_any_number_of_levels_and_fusions(levels: int, num_fusions: int) -> None:
    encoder = make_encoder(levels, num_fusions=num_fusions)
    (vectors,) = encoder(features_for(encoder, images=1), [BOXES])
    assert vectors.shape == (3, 24) and vectors.isfinite().all()
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)


@torch.no_grad()
def test_levels_may_come_on_different_grids() -> None:
    encoder = make_encoder(3, pyramid_sizes=(9, 6, 5))
    features = [torch.randn(2, side * side, 8) for side in (8, 4, 2)]
    assert [tuple(each.shape) for each in encoder.fuse(features)] == [(2, 16, side, side) for side in (9, 6, 5)]
    assert [len(each) for each in encoder(features, [BOXES, BOXES[:1]])] == [3, 1]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_coordinates_exact(dtype: torch.dtype) -> None:
    encoder = make_encoder().to(dtype)
    features = [level.to(dtype) for level in features_for(encoder, images=1)]
    box = torch.tensor([[0.5, 0.5, 0.75, 0.75]])
    moved = box + torch.tensor([3e-4, 0, 3e-4, 0]) * (4 if dtype is torch.bfloat16 else 0.5)
    assert torch.equal(box.to(dtype), moved.to(dtype)), "the step must be lost in half precision"
    maps = encoder.fuse(features)
    index = torch.zeros(1, dtype=torch.long)
    assert not torch.equal(encoder.appearance(maps, box, index), encoder.appearance(maps, moved, index))
    assert encoder(features, [box])[0].dtype == dtype


@torch.no_grad()
@pytest.mark.parametrize(
    ("box", "error"),
    [
        ([float("nan")] * 4, BoxNotFinite),
        ([0.1, float("nan"), 0.5, 0.5], BoxNotFinite),
        ([0.1, 0.1, float("inf"), 0.5], BoxNotFinite),
        ([-float("inf"), 0.1, 0.5, 0.5], BoxNotFinite),
        ([0.1, 0.1, 1e38, 0.5], BoxOutOfBounds),
        ([0.1, 0.1, 1.5, 0.5], BoxOutOfBounds),
        ([-0.1, 0.1, 0.5, 0.5], BoxOutOfBounds),
        ([10.0, 10.0, 200.0, 200.0], BoxOutOfBounds),
    ],
)
def test_boxes_that_would_crash_the_process_are_refused(box: list[float], error: type[RoiAgentError]) -> None:
    encoder = make_encoder(2)
    features = features_for(encoder)
    for boxes in ([torch.tensor([box]), BOXES], [BOXES, torch.cat([BOXES, torch.tensor([box])])]):
        with pytest.raises(error):
            encoder(features, boxes)


@torch.no_grad()
def test_the_full_frame_and_one_pixel_are_regions_like_others() -> None:
    encoder = make_encoder()
    pixel = [[0.5, 0.5, 0.5 + 1 / 4096, 0.5 + 1 / 4096]]
    (vectors,) = encoder(features_for(encoder, images=1), [torch.tensor([[0.0, 0, 1, 1], *pixel])])
    assert vectors.isfinite().all() and not torch.equal(vectors[0], vectors[1])


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    encoder = make_encoder(2).train()
    features = features_for(encoder)
    gradients = []
    for checkpointing in (False, True):
        encoder.gradient_checkpointing = checkpointing
        encoder.zero_grad()
        torch.cat(encoder(features, [BOXES, BOXES[:1]])).square().sum().backward()
        gradients.append({name: value.grad.clone() for name, value in encoder.named_parameters() if value.grad is not None})
    assert set(gradients[0]) == set(gradients[1]) == {name for name, _ in encoder.named_parameters()}
    assert all(torch.equal(value, gradients[1][name]) for name, value in gradients[0].items())


def test_an_image_without_regions_gives_no_gradient_and_no_error() -> None:
    encoder = make_encoder(2).train()
    loss = torch.cat(encoder(features_for(encoder), [BOXES[:0], BOXES[:0]])).sum()
    loss.backward()
    assert loss.item() == 0
