"""Half-precision products on a processor without half-precision arithmetic: computed in float32, with unchanged weights.

On such a processor a convolution in half precision takes a hundred times as long as in float32, and a matrix product five times.
Converting the operands costs little in comparison, and the products are at least as exact.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from roi_agent.model.checkpoints import dtypes

_FEW_ROWS = 4  # up to here the time is that of reading the weights, which is shorter in half precision
_WIDENED = 1 << 20  # weights converted at once, so that they stay in the processor's cache
_MULTIPLY = {torch.conv2d, torch.matmul, Tensor.matmul}


def fast_products(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which a model of this dtype uses the fastest products of the device; for inference only."""
    slow = device.type == "cpu" and dtype in dtypes.slow_dtypes()
    return _InFloat32(dtype) if slow else nullcontext()


class _InFloat32(TorchFunctionMode):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and args[0].dtype == self._dtype:
            return _linear(*args, **kwargs)
        if func in _MULTIPLY and args[0].dtype == self._dtype:
            return func(*map(self._widened, args), **{name: self._widened(each) for name, each in kwargs.items()}).to(self._dtype)
        return func(*args, **kwargs)

    def _widened(self, given: Any) -> Any:
        return given.float() if isinstance(given, Tensor) and given.dtype == self._dtype else given


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., C), (D, C), (D) -> (..., D)."""
    if input.numel() <= _FEW_ROWS * input.shape[-1]:
        return F.linear(input, weight, bias)
    step, wide = max(1, _WIDENED // weight.shape[1]), input.float()
    parts = weight.split(step)
    biases = [None] * len(parts) if bias is None else [each.float() for each in bias.split(step)]
    shares = (F.linear(wide, part.float(), each).to(input.dtype) for part, each in zip(parts, biases, strict=True))
    return torch.cat(list(shares), dim=-1)
