"""What a training of phases needs to know of whatever it trains."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from roi_agent.model.toy.train.settings import PhaseSettings
from roi_agent.model.train.task import Figures


class Trainee(ABC):
    """A model, the samples it learns from, and how it is judged and kept.

    figures: names of the log's columns beside the loss.  shown: those of them that stand behind the progress bar.
    """

    model: nn.Module
    figures: tuple[str, ...]
    shown: tuple[str, ...]

    @abstractmethod
    def dataset(self, phase: PhaseSettings, first: int) -> Dataset[Any]:
        """All samples of a phase in order, each determined by its index; the first is scene `first` of training."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples -> one batch."""

    @abstractmethod
    def loss(self, phase: PhaseSettings, batch: Any) -> tuple[Tensor, Figures]:
        """What the phase minimises, with figures for the log."""

    @abstractmethod
    def save(self, target: Path) -> None:
        """Write the trained model as users load it."""
