"""Whether an image resembles what a model was trained on: the Mahalanobis distance of its pooled features.

A model that knows rendered scenes only answers about a photo as readily as about a scene; this is how it can tell.
(Lee et al., "A simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888, section 2.)
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from roi_agent.model.modeling import ImageFeatures

_FILE = "domain.safetensors"
_FLOOR = 1e-2  # under the logarithm: a channel that is nearly always silent must not decide
_RIDGE = 1e-2  # added to the covariance, as a share of its mean variance, so that it can be inverted


@dataclass(frozen=True, slots=True)
class Domain:
    """mean (C) and precision (C, C) of pooled features over known images, and the largest squared distance allowed."""

    mean: Tensor
    precision: Tensor
    limit: float

    @classmethod
    def fit(cls, pooled: Tensor, held_out: Tensor, *, slack: float = 1.1) -> "Domain":
        """pooled: (N, C) features of known images; held_out: (M, C) others of the same kind, which set the limit.

        slack: how much farther than the farthest held-out image an image may lie.
        """
        mean = pooled.double().mean(0)
        centred = pooled.double() - mean
        covariance = centred.T @ centred / (len(pooled) - 1)
        covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
        domain = cls(mean.float(), torch.linalg.inv(covariance).float().contiguous(), 0.0)
        return cls(domain.mean, domain.precision, slack * domain.distances(held_out).max().item())

    def distances(self, pooled: Tensor) -> Tensor:
        """Squared Mahalanobis distances (N) of pooled features (N, C)."""
        centred = pooled.float().cpu() - self.mean
        return ((centred @ self.precision) * centred).sum(1)

    def contains(self, features: ImageFeatures) -> bool:
        """Whether every image of the batch lies within the limit."""
        return bool((self.distances(pool(features)) <= self.limit).all())

    def save(self, folder: Path) -> None:
        """Write the domain beside a model's weights."""
        save_file({"mean": self.mean, "precision": self.precision, "limit": torch.tensor([self.limit])}, folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> "Domain | None":
        """The domain beside a model's weights, or None where there is none."""
        if not (folder / _FILE).is_file():
            return None
        tensors = load_file(folder / _FILE)
        return cls(tensors["mean"], tensors["precision"], tensors["limit"].item())


def pool(features: ImageFeatures) -> Tensor:
    """One vector (B, C) for each image: logarithms of the means and spreads of every channel of the fused maps.

    Logarithms, because spreads of things on a plain ground vary by powers; without them the limit must be so wide that
    many photos lie within it.
    """
    maps = [level.float().flatten(2) for level in features.maps]
    return torch.cat([(part + _FLOOR).log() for level in maps for part in (level.mean(2), level.std(2))], dim=1)
