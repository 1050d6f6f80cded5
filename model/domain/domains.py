"""Domains: which images a model was trained on, and whether a given image is one of them.

A model that was trained on rendered scenes only answers about a photo, too; its domain detects this.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from roi_agent.model.domain.scene_statistics import SceneStatistics, measure

OUTSIDE = "this image lies outside what the model was trained on"  # the start of every note about such an image
NOT_KNOWN = "whether this image is of the kind that the model was trained on is not known"

Maps = Callable[[], Sequence[Tensor]]  # returns the model's feature maps of the image, each (1, C, h, w)

_WARNING = "; do not rely on "
_FILE = "domain.safetensors"
_FLOOR = 1e-2  # added before the logarithm, so that nearly constant channels do not dominate
_RIDGE = 1e-2  # added to the covariance, as a share of its mean variance, so that it is invertible
_SLACK = 1.25  # factor on the largest statistics of scenes
_FRAMED = 0.05  # limit of `SceneStatistics.framed`, because crops of scenes cut through black and white things


class Domain(ABC):
    """The kind of images that a model was trained on.  known: its description, for notes about other images."""

    known: str

    @abstractmethod
    def contains(self, image: Image.Image, maps: Maps) -> bool:
        """Whether an RGB image is in the domain.  maps: called only if needed."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store beside a model's weights."""

    def note(self, what: str) -> str:
        """Return the note about an image outside the domain.  what: the result that is not reliable."""
        return f"{OUTSIDE}: {self.known}{_WARNING}{what}"

    def save(self, folder: Path) -> None:
        """Write the domain beside a model's weights."""
        save_file(self.tensors(), folder / _FILE, metadata={"known": self.known})


@dataclass(frozen=True, slots=True, eq=False)
class SceneDomain(Domain):
    """Rendered scenes, recognised by their pixels only, so that all models trained on them agree about an image.

    fills, rims: (K, 3) RGB, the colours of things and of their rims.  limits: maximum statistics of a scene.
    least: minimum share of things.
    """

    fills: Tensor
    rims: Tensor
    limits: SceneStatistics
    least: float
    known: str = ""

    @classmethod
    def fit(cls, images: Iterable[Image.Image], fills: Tensor, rims: Tensor, *, known: str = "") -> "SceneDomain":
        """Set each limit a quarter above the maximum over these scenes."""
        found = [measure(each, fills.numpy(), rims.numpy()) for each in images]
        limits = {each.name: _SLACK * max(getattr(one, each.name) for one in found) for each in fields(SceneStatistics)}
        limits["framed"] = _FRAMED
        return cls(fills, rims, SceneStatistics(**limits), min(one.things for one in found) / _SLACK, known)

    def contains(self, image: Image.Image, maps: Maps) -> bool:
        """Whether the statistics of the pixels are within the limits."""
        found = measure(image, self.fills.numpy(), self.rims.numpy(), most_things=self.limits.things)
        within = all(getattr(found, each.name) <= getattr(self.limits, each.name) for each in fields(found))
        return within and found.things >= self.least

    def tensors(self) -> dict[str, Tensor]:
        """Return the colours, `least`, and `limits.NAME` for each statistic."""
        limits = {f"limits.{name}": torch.tensor([value]) for name, value in asdict(self.limits).items()}
        return {"fills": self.fills, "rims": self.rims, "least": torch.tensor([self.least]), **limits}


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDomain(Domain):
    """Images whose pooled features are close to those of the training images, by Mahalanobis distance.

    mean: (C), precision: (C, C), of pooled features of training images.  limit: maximum squared distance.
    (Lee et al., "A simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888, section 2.)
    """

    mean: Tensor
    precision: Tensor
    limit: float
    known: str = ""

    @classmethod
    def fit(cls, pooled: Tensor, held_out: Tensor, *, slack: float = 1.1, known: str = "") -> "FeatureDomain":
        """Fit to pooled features of training images (N, C), and set the limit by held-out images of the same kind (M, C).

        slack: factor on the largest squared distance of a held-out image.
        """
        mean = pooled.double().mean(0)
        centred = pooled.double() - mean
        covariance = centred.T @ centred / (len(pooled) - 1)
        covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
        domain = cls(mean.float(), torch.linalg.inv(covariance).float().contiguous(), 0.0)
        return replace(domain, limit=slack * domain.distances(held_out).max().item(), known=known)

    def distances(self, pooled: Tensor) -> Tensor:
        """Return the squared Mahalanobis distances (N) of pooled features (N, C)."""
        centred = pooled.float().cpu() - self.mean
        return ((centred @ self.precision) * centred).sum(1)

    def contains(self, image: Image.Image, maps: Maps) -> bool:
        """Whether the model's features are within the limit."""
        return bool((self.distances(pool(maps())) <= self.limit).all())

    def tensors(self) -> dict[str, Tensor]:
        """Return mean, precision and limit."""
        return {"mean": self.mean, "precision": self.precision, "limit": torch.tensor([self.limit])}


def load_domain(folder: Path) -> Domain | None:
    """Load the domain beside a model's weights, or return None if there is none."""
    if not (folder / _FILE).is_file():
        return None
    with safe_open(folder / _FILE, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        known = (file.metadata() or {}).get("known", "")
    if "mean" in found:
        return FeatureDomain(found["mean"], found["precision"], found["limit"].item(), known)
    limits = {each.name: found[f"limits.{each.name}"].item() for each in fields(SceneStatistics)}
    return SceneDomain(found["fills"], found["rims"], SceneStatistics(**limits), found["least"].item(), known)


def known_images(model: object) -> str | None:
    """Return the description of the only images that a model knows, or None for a general model."""
    knows = getattr(model, "knows", None)
    return knows if isinstance(knows, str) and knows else None


def is_verdict(note: str) -> bool:
    """Whether a note is about the model's domain."""
    return note.startswith((OUTSIDE, NOT_KNOWN))


def without_repeats(notes: Iterable[str]) -> tuple[str, ...]:
    """Return the notes without repeats; of domain notes that differ only in the unreliable result, the first."""
    first: dict[str, str] = {}
    for note in notes:
        first.setdefault(note.partition(_WARNING)[0] if is_verdict(note) else note, note)
    return tuple(first.values())


def pool(maps: Sequence[Tensor]) -> Tensor:
    """Pool feature maps to one vector for each image: (B, C).

    maps: each (B, channels, h, w), of any size.

    The vector contains the logarithms of mean absolute value and standard deviation of every channel. Without logarithms, these
    vary by orders of magnitude between scenes, and the limit would include many photos.
    """
    flat = [level.float().flatten(2) for level in maps]
    return torch.cat([(part + _FLOOR).log() for level in flat for part in (level.abs().mean(2), level.std(2))], dim=1)
