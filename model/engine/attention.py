"""Attention of many rows over shared prefixes, each stored once and read once.

The keys of a row are those of its image's prefix and its own. The scores of the two parts are computed separately, those of the
prefix in one matrix product for all rows of an image. One softmax covers both, so the result equals attention over the
concatenated keys.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from roi_agent.model.engine.kv_cache import BatchedKVCache

SHARED = "roi_shared_prefix"  # the name registered with transformers


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_rows: "BatchedKVCache | None" = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: query (B, H, T, D), key and value (B, G, S, D) -> (B, T, H, D).

    attention_mask: (B or 1, 1, T, S), added to the scores of the rows' own keys.
    shared_rows: holds the prefixes; without it, this is transformers' usual attention.
    """
    if shared_rows is None:
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return attended, None
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    # Group the query heads that read the same keys (grouped-query attention): (B, G, heads per group * T, D).
    asked = (query * (scaling or width**-0.5)).reshape(batch, groups, -1, width)
    own = asked @ key.transpose(-1, -2)
    if attention_mask is not None:
        own = (own.view(batch, heads, length, -1) + attention_mask).view(own.shape)
    layer: int = module.layer_idx  # type: ignore[assignment]
    spans = shared_rows.spans
    shared = torch.cat([_shared_matmul(asked[rows], prefix.keys[layer].transpose(-1, -2)) for prefix, rows in spans])
    weights = torch.cat([shared, own], -1).softmax(-1, dtype=torch.float32).to(query.dtype)
    of_shared, of_own = weights.split([shared.shape[-1], own.shape[-1]], -1)
    attended = torch.cat([_shared_matmul(of_shared[rows], prefix.values[layer]) for prefix, rows in spans]) + of_own @ value
    return attended.view(batch, heads, length, width).transpose(1, 2), None


def _shared_matmul(rows: Tensor, shared: Tensor) -> Tensor:
    """(N, G, M, K) times (G, K, L), as G matrix products over all rows -> (N, G, M, L)."""
    count, groups, size, _ = rows.shape
    product = rows.transpose(0, 1).reshape(groups, count * size, -1) @ shared
    return product.view(groups, count, size, -1).transpose(0, 1)


AttentionInterface.register(SHARED, shared_prefix_attention)
AttentionMaskInterface.register(SHARED, sdpa_mask)
