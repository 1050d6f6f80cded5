"""A file as the original Grounding DINO writes it: names and shapes of the original package's own model, weights by arithmetic.

`data/grounding_dino_original.json` was made with that package (groundingdino-py 0.4.0, its BERT patched for today's
transformers): the names and shapes of its Swin-T and Swin-B (`swin_b`: where it differs); those of a small model of the same
classes, which was filled by `weight`, and that model's boxes and logits for `image` and CAPTION.
"""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "grounding_dino_original.json").read_text())
CAPTION = "red star . umbrella ."


def weight(name: str, shape: list[int]) -> Tensor:
    """The same for all box heads of the decoder, which the original model shares."""
    if name.endswith("relative_position_index"):
        return torch.zeros(shape, dtype=torch.long)
    shared = re.sub(r"^(transformer\.decoder\.)?bbox_embed\.\d+", "bbox_embed.0", name)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(shared.encode())))
    return 1 + values / 10 if len(shape) == 1 and name.endswith(".weight") else values / 16


def weights() -> dict[str, Tensor]:
    """A state dict of the original classes."""
    return {name: weight(name, shape) for name, shape in DATA["shapes"].items()}


def image() -> Tensor:
    """(1, 3, 96, 128), as the processor would give it."""
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    return torch.stack([torch.sin(rows / 7), torch.cos(columns / 11), torch.sin((rows + columns) / 5)])[None]
