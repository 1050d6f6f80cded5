"""Whether an image resembles what a model was trained on: the Mahalanobis distance of its pooled features.

A model that knows rendered scenes only answers about a photo as readily as about a scene; this is how it can tell.
(Lee et al., "A simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888, section 2.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

OUTSIDE = "this image lies outside what the model was trained on"  # how every note about such an image begins

_FILE = "domain.safetensors"
_FLOOR = 1e-2  # under the logarithm: a channel that is nearly always silent must not decide
_RIDGE = 1e-2  # added to the covariance, as a share of its mean variance, so that it can be inverted


@dataclass(frozen=True, slots=True)
class Domain:
    """mean (C) and precision (C, C) of pooled features over known images, and the largest squared distance allowed.

    known: what the model knows, in words, for the note about an image that lies outside.
    """

    mean: Tensor
    precision: Tensor
    limit: float
    known: str = ""

    @classmethod
    def fit(cls, pooled: Tensor, held_out: Tensor, *, slack: float = 1.1, known: str = "") -> "Domain":
        """pooled: (N, C) features of known images; held_out: (M, C) others of the same kind, which set the limit.

        slack: how much farther than the farthest held-out image an image may lie.
        """
        mean = pooled.double().mean(0)
        centred = pooled.double() - mean
        covariance = centred.T @ centred / (len(pooled) - 1)
        covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
        domain = cls(mean.float(), torch.linalg.inv(covariance).float().contiguous(), 0.0)
        return replace(domain, limit=slack * domain.distances(held_out).max().item(), known=known)

    def distances(self, pooled: Tensor) -> Tensor:
        """Squared Mahalanobis distances (N) of pooled features (N, C)."""
        centred = pooled.float().cpu() - self.mean
        return ((centred @ self.precision) * centred).sum(1)

    def contains(self, maps: Sequence[Tensor]) -> bool:
        """Whether every image of the batch lies within the limit.  maps: as in `pool`."""
        return bool((self.distances(pool(maps)) <= self.limit).all())

    def note(self, what: str) -> str:
        """What the reader of an answer should know about an image outside.  what: is not to be relied on."""
        return f"{OUTSIDE}: {self.known}; do not rely on {what}"

    def save(self, folder: Path) -> None:
        """Write the domain beside a model's weights."""
        tensors = {"mean": self.mean, "precision": self.precision, "limit": torch.tensor([self.limit])}
        save_file(tensors, folder / _FILE, metadata={"known": self.known})

    @classmethod
    def load(cls, folder: Path) -> "Domain | None":
        """The domain beside a model's weights, or None where there is none."""
        if not (folder / _FILE).is_file():
            return None
        with safe_open(folder / _FILE, "pt") as file:
            mean, precision, limit = (file.get_tensor(name) for name in ("mean", "precision", "limit"))
            return cls(mean, precision, limit.item(), (file.metadata() or {}).get("known", ""))


def pool(maps: Sequence[Tensor]) -> Tensor:
    """One vector (B, C) for each image: logarithms of the mean size and the spread of every channel of its feature maps.

    maps: each (B, channels, h, w), of any sizes.

    Logarithms, because spreads of things on a plain ground vary by powers; without them the limit must be so wide that
    many photos lie within it.
    """
    flat = [level.float().flatten(2) for level in maps]
    return torch.cat([(part + _FLOOR).log() for level in flat for part in (level.abs().mean(2), level.std(2))], dim=1)
