"""Throughput as a share of a GPU's peak."""

import re

import torch

# Dense bf16 TFLOP/s by device name, as published by the vendor.
_PEAKS = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100": 989, "H800": 989, "A100": 312, "A800": 312, "L40S": 362, "L40": 181,
    "L4": 121, "A10": 125, "RTX 4090": 165, "RTX 3090": 71, "A6000": 155,
}  # fmt: skip
_OTHERS = ("NVL", "Laptop", "MIG", "D", "Ti", "Ada")  # variants of other speed, and shares of a device


def peak_flops(device: torch.device) -> float | None:
    """The peak of a device in FLOP/s, or None if unknown."""
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """The peak by device name, such as "NVIDIA L40S"."""
    if any(re.search(rf"\b{word}\b", name) for word in _OTHERS):
        return None
    return next((peak * 1e12 for words, peak in _PEAKS.items() if re.search(rf"\b{words}\b", name)), None)


def utilisation(tokens_per_second: float, parameters: int, peak: float) -> float:
    """The share of the peak, at 6 FLOP per token and parameter of the language model, trained or frozen.

    tokens_per_second: of one device.
    """
    return 6 * parameters * tokens_per_second / peak
