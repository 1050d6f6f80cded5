"""What the loop trains: samples in a fixed order, a loss, what learns, and how fast."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset

Metrics = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a task is trained.

    steps: batches.  batch: samples in each, over all processes.  micro_batch: samples that a process holds at once; the rest is
        accumulated.
    learning_rate: rises linearly in the first `warmup_steps`, then falls along half a cosine to `final_rate`, a share of it.
    bf16: compute in bfloat16.  clip: norm of the gradient at most.
    spike: a loss above so many times the running median, once warm, stops the training.
    save_every, log_every, evaluate_every: steps; 0 evaluates never.  workers: processes that read samples.
    """

    steps: int
    batch: int
    micro_batch: int
    learning_rate: float
    warmup_steps: int
    final_rate: float = 0.0
    bf16: bool = False
    clip: float = 1.0
    spike: float = math.inf
    seed: int = 0
    save_every: int
    log_every: int
    evaluate_every: int = 0
    workers: int

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm = max(1, self.warmup_steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        fallen = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * fallen)


class Task(ABC):
    """Something to train.

    phase: its name in the log.  kind: what its samples are called in messages.
    module: holds all that learns; the rest of it is frozen.  optimizer: each group has a `share` of the learning rate.
    samples: each determined by its place in the order, `steps * batch` of them.
    collate: samples -> one batch; like `samples` it goes to the processes that read, and so holds no sharded module.
    metrics: columns of the log beside the loss.  bar_metrics: those of them that the progress bar shows.
    """

    phase: str
    kind: str
    schedule: Schedule
    module: nn.Module
    optimizer: AdamW
    samples: Dataset[Any]
    collate: Callable[[Sequence[Any]], Any]
    metrics: tuple[str, ...]
    bar_metrics: tuple[str, ...]
    num_parameters: int = 0  # that each token passes through

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, Metrics]:
        """The sum to minimise over a batch, which the loop divides by the batches' weights; and metrics for the log."""

    @abstractmethod
    def ids(self, places: Sequence[int]) -> list[str]:
        """Names of the samples at these places of the order, for messages."""

    def weight(self, batch: Any) -> int:
        """How much a micro-batch counts among the others of its step."""
        return 1

    def num_tokens(self, batch: Any) -> int:
        """Tokens that are read in a batch, which its speed is measured by; 0 where it is not measured."""
        return 0

    def left_out(self, batch: Any) -> list[str]:
        """Lines about what belongs to a batch and is not learned from."""
        return []

    def evaluate(self) -> Metrics:
        """Metrics on what is held out."""
        return {}
