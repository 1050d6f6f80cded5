"""When a training has gone wrong: a loss that is no number, or far above what it was."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

from roi_agent.model.errors import TrainingDiverged

WINDOW = 100  # losses behind the running median
_FEWEST = 10  # of them, before a spike can be told
_FLOOR = 0.1  # under the median: near zero, where everything is learned, any doubt is many times the usual
_SHOWN = 8  # record ids in the error


class LossGuard:
    """Watches losses one after another.

    factor: over the running median that counts as a spike.  warm: steps that are only watched for numbers that are none.
    losses: the latest ones of a run that goes on.
    """

    def __init__(self, *, factor: float, warm: int, losses: Sequence[float] = ()) -> None:
        self.factor, self.warm = factor, warm
        self.losses: deque[float] = deque(losses, maxlen=WINDOW)

    def check(self, step: int, loss: float, ids: Callable[[], list[str]]) -> None:
        """ids: names the records of the batch.  Error: TrainingDiverged; nothing has been learned from the batch by then."""
        usual = median(self.losses) if len(self.losses) >= _FEWEST else math.inf
        if not math.isfinite(loss):
            raise _diverged(f"the loss is {loss} at step {step}", ids())
        if step >= self.warm and loss > self.factor * max(usual, _FLOOR):
            raise _diverged(f"the loss leaps to {loss:.4g} at step {step}, where {usual:.4g} is usual", ids())
        self.losses.append(loss)

    def check_gradient(self, step: int, norm: float, ids: Callable[[], list[str]]) -> None:
        """Error: TrainingDiverged where the gradient's norm is no number."""
        if not math.isfinite(norm):
            raise _diverged(f"the gradient's norm is {norm} at step {step}", ids())


def _diverged(problem: str, ids: list[str]) -> TrainingDiverged:
    shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
    do = "look at these records, or lower the learning rate; the same command goes on from the last checkpoint"
    return TrainingDiverged(f"{problem}, on the records {shown}", do=do)
