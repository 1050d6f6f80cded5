"""The interface of models that are trained in phases."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from roi_agent.model.toy.train.settings import PhaseSettings
from roi_agent.model.train.task import Metrics


class Trainee(ABC):
    """A model with its samples, loss and export.

    metrics: columns of the log besides the loss.  bar_metrics: those shown in the progress bar.
    """

    model: nn.Module
    metrics: tuple[str, ...]
    bar_metrics: tuple[str, ...]

    @abstractmethod
    def dataset(self, phase: PhaseSettings, first: int) -> Dataset[Any]:
        """The samples of a phase in order, determined by index; the first is training scene `first`."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples -> one batch."""

    @abstractmethod
    def loss(self, phase: PhaseSettings, batch: Any) -> tuple[Tensor, Metrics]:
        """The loss of a phase, with metrics for the log."""

    @abstractmethod
    def save(self, target: Path) -> None:
        """Write the trained model in the format that users load."""
