"""A convolution over maps that need not be resized: equal to resizing them, forwards and backwards."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roi_agent.model.gpt4roi import resized_conv
from roi_agent.model.gpt4roi.region_encoder import RegionEncoder
from roi_agent.model.gpt4roi.resized_conv import Resized, conv_of_resized
from tests.gpt4roi.test_region_encoder import features_for, make_encoder

Way = Callable[[str], None]


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    """Choose how convolutions over resized maps run: 'taps' on the small maps, 'resizing' them, or whichever is cheaper."""

    def choose(name: str) -> None:
        costs = {"taps": (0, 1), "resizing": (1, 0)}
        if name in costs:
            for function, cost in zip(("_cost_of_taps", "_cost_of_resizing"), costs[name], strict=True):
                monkeypatch.setattr(resized_conv, function, lambda _, cost=cost: cost)

    return choose


def resized(level: Tensor, side: int) -> Tensor:
    return F.interpolate(level, (side, side), mode="bilinear", align_corners=True)


def plainly_fused(encoder: RegionEncoder, features: list[Tensor]) -> list[Tensor]:
    """GPT4RoI's pyramid and fusions as its paper has them: resize, append coordinates, and only then convolve."""
    maps, sides = [], encoder.config.pyramid_sizes
    for conv, tokens, side in zip(encoder.input_convs, features, sides, strict=True):
        grid = round(tokens.shape[1] ** 0.5)
        level = resized(tokens.transpose(1, 2).unflatten(2, (grid, grid)), side)
        axis = torch.linspace(-1, 1, side).expand(len(level), 1, side, side)
        maps.append(conv(torch.cat([level, axis, axis.mT], dim=1)))
    half, quarters, last = maps[0].shape[1] // 2, maps[0].shape[1] * 3 // 4, len(maps) - 1
    for fusion in encoder.fusions:
        assert isinstance(fusion.conv, nn.Module) and isinstance(fusion.norm, nn.Module)
        joined = [
            torch.cat(
                [
                    maps[index][:, :half],
                    resized(maps[min(index + 1, last)][:, quarters:], side),
                    resized(maps[max(index - 1, 0)][:, half:quarters], side),
                ],
                dim=1,
            )
            for index, side in enumerate(sides)
        ]
        maps = [F.relu(fusion.norm(fusion.conv(each))) for each in joined]
    return maps


def off(value: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return ((value - wanted).abs().max() / wanted.abs().max()).item()


@torch.no_grad()
@pytest.mark.parametrize("name", ["taps", "resizing"])
@pytest.mark.parametrize("sides", [(8,), (4,), (7, 16), (16, 8), (8, 1), (1, 8), (3,), (1,)])
@pytest.mark.parametrize("small", [1, 2, 4, 5])
def test_both_ways_equal_resizing_joining_and_convolving(way: Way, name: str, sides: tuple[int, ...], small: int) -> None:
    torch.manual_seed(small)
    conv = nn.Conv2d(7, 6, 3, padding=1, bias=False)
    first, second = torch.randn(2, 4, small, small), torch.randn(2, 3, 6, 6)
    wanted = first
    for side in sides:
        wanted = resized(wanted, side)
    wanted = conv(torch.cat([wanted, resized(second, sides[-1])], dim=1))
    way(name)
    assert off(conv_of_resized(conv, [Resized(first, sides), Resized(second, sides[-1:])]), wanted) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["taps", "resizing", "cheaper"])
@pytest.mark.parametrize(
    ("grids", "sides", "num_fusions"),
    [
        ((4, 4, 4, 4), (32, 16, 8, 4), 2),
        ((8, 4, 2), (9, 6, 5), 2),
        ((1, 1), (8, 4), 1),
        ((8, 2, 1), (4, 2, 1), 1),
        ((4,), (32,), 3),
        ((4, 2), (8, 4), 0),
    ],
)
def test_fused_maps_equal_the_plain_ones(
    way: Way, name: str, grids: tuple[int, ...], sides: tuple[int, ...], num_fusions: int
) -> None:
    encoder = make_encoder(len(grids), pyramid_sizes=sides, region_channels=128, num_fusions=num_fusions)
    features = [torch.randn(2, grid**2, 8) for grid in grids]
    way(name)
    for level, wanted in zip(encoder.fuse(features), plainly_fused(encoder, features), strict=True):
        assert level.shape == wanted.shape and off(level, wanted) < 1e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_equal_the_plain_ones(way: Way, checkpointing: bool) -> None:
    encoder = make_encoder(3).train()
    encoder.gradient_checkpointing = checkpointing
    features = [each.requires_grad_() for each in features_for(encoder)]
    learned = [*encoder.input_convs.parameters(), *encoder.fusions.parameters(), *features]
    torch.manual_seed(3)
    way("taps")
    maps, plain = encoder.fuse(features), plainly_fused(encoder, features)
    pulls = [torch.randn_like(each) for each in maps]
    gradients, wanted = (
        torch.autograd.grad(sum((pull * each).sum() for pull, each in zip(pulls, way_, strict=True)), learned)  # type: ignore[arg-type]
        for way_ in (maps, plain)
    )
    assert len(gradients) == len(learned)
    assert all(off(each, other) < 1e-4 for each, other in zip(gradients, wanted, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_no_farther_from_exact_by_taps_than_by_resizing(way: Way, dtype: torch.dtype) -> None:
    encoder = make_encoder(3, region_channels=64)
    features = features_for(encoder)
    exact = plainly_fused(encoder, features)
    encoder.to(dtype)
    distances = []
    for name in ("resizing", "taps"):
        way(name)
        maps = encoder.fuse([each.to(dtype) for each in features])
        assert all(each.dtype == dtype for each in maps)
        distances.append(sum((each.float() - other).norm() for each, other in zip(maps, exact, strict=True)))
    assert distances[1] < 1.2 * distances[0]


@torch.no_grad()
def test_autocast_interpolates_in_float32(way: Way) -> None:
    torch.manual_seed(0)
    conv, small = nn.Conv2d(8, 8, 3, padding=1, bias=False), torch.randn(1, 8, 4, 4)
    way("taps")
    wanted = conv_of_resized(conv, [Resized(small, (32,))])
    with torch.autocast("cpu", torch.bfloat16):
        value = conv_of_resized(conv, [Resized(small, (32,))])
    assert value.dtype == torch.bfloat16 and off(value.float(), wanted) < 2e-2


def test_taps_are_taken_where_they_save_much() -> None:
    def saves(channels: int, small: int, side: int) -> bool:
        part = Resized(torch.empty(1, channels, small, small), (side,))
        return resized_conv._cost_of_taps(part) < resized_conv._cost_of_resizing(part)

    assert all(saves(channels, 16, side) for channels in (256, 512) for side in (128, 64, 32))  # the published first fusion
    assert not saves(256, 64, 128) and not saves(512, 128, 128)  # its later ones
    assert not saves(16, 16, 32) and not saves(32, 32, 32)  # nano
