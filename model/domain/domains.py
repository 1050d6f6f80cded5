"""Whether an image is of the kind that a model was trained on.

A model that knows rendered scenes only answers about a photo as readily as about a scene; this is how it can tell.
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

OUTSIDE = "this image lies outside what the model was trained on"  # how every note about such an image begins
UNDETERMINED = "whether this image is of the kind that the model was trained on is not known"

Maps = Callable[[], Sequence[Tensor]]  # gives the model's feature maps of the image, each (1, C, h, w)

_WARNING = "; do not rely on "
_FILE = "domain.safetensors"
_FLOOR = 1e-2  # under the logarithm: a channel that is nearly always silent must not decide
_RIDGE = 1e-2  # added to the covariance, as a share of its mean variance, so that it can be inverted
_SLACK = 1.25  # of a limit of scenes: how much farther than the farthest of them an image may lie
_FRAMED = 0.05  # of the frame: so much may be black and white things that a crop of a scene cuts


class Domain(ABC):
    """What images a model knows.  known: in words, for the note about an image that lies outside."""

    known: str

    @abstractmethod
    def contains(self, image: Image.Image, maps: Maps) -> bool:
        """Whether an RGB image is of the kind that the model was trained on.  maps: called only where they are needed."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is stored beside a model's weights."""

    def note(self, what: str) -> str:
        """What the reader of an answer should know about an image outside.  what: is not to be relied on."""
        return f"{OUTSIDE}: {self.known}{_WARNING}{what}"

    def save(self, folder: Path) -> None:
        """Write the domain beside a model's weights."""
        save_file(self.tensors(), folder / _FILE, metadata={"known": self.known})


@dataclass(frozen=True, slots=True, eq=False)
class SceneDomain(Domain):
    """Rendered scenes, told by their pixels alone, so that all models that know them judge an image alike.

    fills, rims: (K, 3) RGB, the colours of things and of their rims.  limits: the largest statistics that a scene has.
    least: the smallest share of things.
    """

    fills: Tensor
    rims: Tensor
    limits: SceneStatistics
    least: float
    known: str = ""

    @classmethod
    def fit(cls, images: Iterable[Image.Image], fills: Tensor, rims: Tensor, *, known: str = "") -> "SceneDomain":
        """From scenes alone: what is farther from them than any of them by a quarter lies outside."""
        found = [measure(each, fills.numpy(), rims.numpy()) for each in images]
        limits = {each.name: _SLACK * max(getattr(one, each.name) for one in found) for each in fields(SceneStatistics)}
        limits["framed"] = _FRAMED
        return cls(fills, rims, SceneStatistics(**limits), min(one.things for one in found) / _SLACK, known)

    def contains(self, image: Image.Image, maps: Maps) -> bool:
        """By the pixels."""
        found = measure(image, self.fills.numpy(), self.rims.numpy(), most_things=self.limits.things)
        within = all(getattr(found, each.name) <= getattr(self.limits, each.name) for each in fields(found))
        return within and found.things >= self.least

    def tensors(self) -> dict[str, Tensor]:
        """`limits.NAME` for each statistic."""
        limits = {f"limits.{name}": torch.tensor([value]) for name, value in asdict(self.limits).items()}
        return {"fills": self.fills, "rims": self.rims, "least": torch.tensor([self.least]), **limits}


@dataclass(frozen=True, slots=True, eq=False)
class FeatureDomain(Domain):
    """Images whose pooled features lie near those of training, by the Mahalanobis distance.

    mean (C) and precision (C, C) of pooled features over known images, and the largest squared distance allowed.
    (Lee et al., "A simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888, section 2.)
    """

    mean: Tensor
    precision: Tensor
    limit: float
    known: str = ""

    @classmethod
    def fit(cls, pooled: Tensor, held_out: Tensor, *, slack: float = 1.1, known: str = "") -> "FeatureDomain":
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

    def contains(self, image: Image.Image, maps: Maps) -> bool:
        """By the model's features."""
        return bool((self.distances(pool(maps())) <= self.limit).all())

    def tensors(self) -> dict[str, Tensor]:
        """The three numbers."""
        return {"mean": self.mean, "precision": self.precision, "limit": torch.tensor([self.limit])}


def load_domain(folder: Path) -> Domain | None:
    """The domain beside a model's weights, or None where there is none."""
    if not (folder / _FILE).is_file():
        return None
    with safe_open(folder / _FILE, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        known = (file.metadata() or {}).get("known", "")
    if "mean" in found:
        return FeatureDomain(found["mean"], found["precision"], found["limit"].item(), known)
    limits = {each.name: found[f"limits.{each.name}"].item() for each in fields(SceneStatistics)}
    return SceneDomain(found["fills"], found["rims"], SceneStatistics(**limits), found["least"].item(), known)


def known_images(model: object) -> str | None:
    """The only kind of images that a model knows, in words; None for one without such a limit."""
    knows = getattr(model, "knows", None)
    return knows if isinstance(knows, str) and knows else None


def is_domain_note(note: str) -> bool:
    """Whether a note says what a domain found, or that it found nothing."""
    return note.startswith((OUTSIDE, UNDETERMINED))


def without_repeats(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes without repeats: of verdicts that differ only in what is not to be relied on, the first."""
    first: dict[str, str] = {}
    for note in notes:
        first.setdefault(note.partition(_WARNING)[0] if is_domain_note(note) else note, note)
    return tuple(first.values())


def pool(maps: Sequence[Tensor]) -> Tensor:
    """One vector (B, C) for each image: logarithms of the mean size and the spread of every channel of its feature maps.

    maps: each (B, channels, h, w), of any sizes.

    Logarithms, because spreads of things on a plain ground vary by powers; without them the limit must be so wide that
    many photos lie within it.
    """
    flat = [level.float().flatten(2) for level in maps]
    return torch.cat([(part + _FLOOR).log() for level in flat for part in (level.abs().mean(2), level.std(2))], dim=1)
