"""Weights and inputs made from names alone, as for the outputs in `tests/data/region_encoder_64.safetensors`.

The published region encoder gave those outputs for exactly these numbers, so its weights need not be here.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def _normal(key: str, shape: Sequence[int]) -> Tensor:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


def weight(name: str, shape: Sequence[int]) -> Tensor:
    """A parameter: unit variance over fan-in for matrices, 1 + 0.1 n for norm weights, 0.1 n for biases."""
    values = _normal(name, shape)
    if len(shape) > 1:
        return values / int(np.prod(shape[1:])) ** 0.5
    return 1 + 0.1 * values if name.endswith("weight") else 0.1 * values


def network_input(name: str, shape: Sequence[int]) -> Tensor:
    """An input tensor of standard normal values."""
    return _normal("input:" + name, shape)
