"""The interface of the training loop: a task with samples in a fixed order, a loss, an optimiser and a schedule."""

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
    """The schedule of a task.

    steps: batches.  batch: samples in each, over all processes.  micro_batch: samples in a forward pass of a process; gradients
        accumulate.
    learning_rate: rises linearly in the first `warmup_steps`, then falls along half a cosine to `final_rate`, a share of it.
    bf16: compute in bfloat16.  clip: maximum gradient norm.
    spike: the training stops at a loss above this multiple of the running median, after the warm-up.
    save_every, log_every, evaluate_every: steps; 0 never evaluates.  workers: processes that read samples.
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
        """The learning rate at a step."""
        warm = max(1, self.warmup_steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        fallen = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * fallen)


class Task(ABC):
    """A task to train.

    phase: its name in the log.  kind: the word for samples in messages.
    module: contains all trained parameters; the rest is frozen.  optimizer: each group has a `share` of the learning rate.
    samples: `steps * batch` of them, in training order.
    collate: samples -> one batch; pickled with `samples` for reading processes, so neither refers to a sharded module.
    metrics: columns of the log besides the loss.  bar_metrics: those shown in the progress bar.
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
    num_parameters: int = 0  # used by each token

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, Metrics]:
        """The summed loss of a batch, which the loop divides by the total weight; and metrics for the log."""

    @abstractmethod
    def ids(self, places: Sequence[int]) -> list[str]:
        """Names of the samples at these positions, for messages."""

    def weight(self, batch: Any) -> int:
        """The weight of a micro-batch within its step."""
        return 1

    def num_tokens(self, batch: Any) -> int:
        """Tokens of a batch, for throughput; 0 if it is not measured."""
        return 0

    def left_out(self, batch: Any) -> list[str]:
        """Lines about skipped samples of a batch."""
        return []

    def evaluate(self) -> Metrics:
        """Metrics on held-out data."""
        return {}
