"""What the exact savings of encoding an image bring, at the published sizes and at nano's.

Tried and left out; seconds on one CPU thread, at the published size in float32:
- The coarser neighbour's share of every later fusion by taps: 0.87 for 1.39 at the finest level, 9 % of all. The
  interpolation has to run in float32, which on a GPU costs more than the bf16 convolution that it saves (computed).
- The merge convolution before RoIAlign, as A M A' with A the box's sampling matrix: for 16 regions 0.25 for 0.87 at the
  coarsest level, 0.67 for 0.85 at the next and 2.1 for 0.96 at the one after, together 2.9 for 3.7. With the maps of all nine
  taps kept it would be 0.14, 0.33 and 0.76, for 9, 38 and 151 MB more for each image, beside 89 MB of fused maps.
"""

from collections.abc import Callable

import pytest
import torch

from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.region_encoder import RegionEncoder
from tests.benchmarks.conftest import Table, abba
from tests.gpt4roi.test_resized_conv import plainly_fused


def without_gradients(work: Callable[[], object]) -> Callable[[], object]:
    return torch.inference_mode()(work)


@pytest.mark.parametrize(("preset", "grids", "rounds"), [("nano", (32, 16, 8), 48), ("gpt4roi-7b", (16, 16, 16, 16), 3)])
def test_the_region_encoder_against_the_order_of_the_paper(
    table: Table, preset: str, grids: tuple[int, ...], rounds: int
) -> None:
    config = GPT4RoIConfig.preset(preset)
    config.roi_size = 1  # the 205 M weights after pooling have no part in this
    encoder = RegionEncoder(config).eval()
    features = [torch.randn(1, side**2, width) for side, width in zip(grids, config.level_channels or (), strict=True)]
    plain, shipped = (lambda: plainly_fused(encoder, features)), (lambda: encoder.fuse(features))
    times = abba(without_gradients(plain), without_gradients(shipped), rounds)
    table.compare(f"region encoder, {preset}: fused maps of an image", ("as in the paper", "as shipped"), times)
