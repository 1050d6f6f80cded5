"""Weights in half precision on a processor that does not multiply it: stored as they are, multiplied in float32."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from roi_agent.model.checkpoints import dtypes
from roi_agent.model.engine import Runner
from roi_agent.model.engine.half_precision import fast_products
from roi_agent.model.images.loading import load_image
from tests.engine.asked import SCENE
from tests.small import make_model, make_processor

PRODUCTS = {"convolution", "conv2d", "linear", "addmm", "mm", "bmm", "matmul"}


class Watched(TorchDispatchMode):
    """The types in which products of many rows are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [each for each in args if isinstance(each, Tensor)]
        if func.overloadpacket.__name__ in PRODUCTS and all(each.numel() > each.shape[-1] for each in tensors if each.dim() > 1):
            self.types |= {each.dtype for each in tensors}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("stored", "bf16", "multiplied"),
    [
        (torch.bfloat16, False, torch.float32),
        (torch.float16, False, torch.float32),
        (torch.float16, True, torch.float32),  # no processor has fast convolutions in float16
        (torch.bfloat16, True, torch.bfloat16),
        (torch.float32, False, torch.float32),
    ],
)
def test_an_image_is_encoded_in_a_type_that_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch, stored: torch.dtype, bf16: bool, multiplied: torch.dtype
) -> None:
    monkeypatch.setattr(dtypes, "has_bfloat16", lambda: bf16)
    model: Any = make_model()
    model.to(stored)
    runner = Runner(model, make_processor(model.config))
    with Watched() as watched:
        kept = runner.encode(load_image(SCENE))
    assert watched.types == {multiplied}
    assert {each.dtype for each in (kept.features.tokens, *kept.features.maps, *kept.prefix.keys)} == {stored}
    expected = Runner(model.float(), runner.processor).encode(load_image(SCENE)).features
    for ours, exact in zip((kept.features.tokens, *kept.features.maps), (expected.tokens, *expected.maps), strict=True):
        assert (ours.float() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("rows", [0, 1, 7, 40])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_products_are_those_of_float32_rounded(monkeypatch: pytest.MonkeyPatch, rows: int, bias: bool) -> None:
    monkeypatch.setattr(dtypes, "has_bfloat16", lambda: False)
    torch.manual_seed(0)
    layer = nn.Linear(64, 40_000, bias=bias).bfloat16()  # more weights than are widened at once
    given, square = torch.randn(2, rows, 64).bfloat16(), torch.randn(2, 64, 64).bfloat16()
    with fast_products(torch.bfloat16, torch.device("cpu")):
        ours, multiplied = layer(given), given @ square
    exact = F.linear(given.float(), layer.weight.float(), layer.bias.float() if bias else None)
    torch.testing.assert_close(ours, exact.bfloat16(), rtol=0.01, atol=0.01)
    torch.testing.assert_close(multiplied, (given.float() @ square.float()).bfloat16(), rtol=0.01, atol=0.01)
