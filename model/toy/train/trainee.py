"""What a training of phases needs to know of whatever it trains."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from roi_agent.model.toy.train.settings import PhaseSettings
from roi_agent.model.train.task import Metrics


class Trainee(ABC):
    """A model, the samples it learns from, and how it is judged and kept.

    metrics: names of the log's columns beside the loss.  bar_metrics: those of them that stand behind the progress bar.
    """

    model: nn.Module
    metrics: tuple[str, ...]
    bar_metrics: tuple[str, ...]

    @abstractmethod
    def dataset(self, phase: PhaseSettings, first: int) -> Dataset[Any]:
        """All samples of a phase in order, each determined by its index; the first is scene `first` of training."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples -> one batch."""

    @abstractmethod
    def loss(self, phase: PhaseSettings, batch: Any) -> tuple[Tensor, Metrics]:
        """What the phase minimises, with metrics for the log."""

    @abstractmethod
    def save(self, target: Path) -> None:
        """Write the trained model as users load it."""
