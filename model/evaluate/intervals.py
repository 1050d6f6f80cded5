"""Bootstrap confidence intervals (Efron 1979) for any figure that is a function of sums over questions.

Images are resampled, not questions, because questions about one image are not independent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_AT_ONCE = 2**22  # counts of resampled images held in memory

Numbers = NDArray[np.float64]
FigureOfSums = Callable[[Numbers], Numbers]  # sums (..., K) -> figures (...)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def interval(statistics: Numbers, images: Sequence[str], figure: FigureOfSums, *, seed: int = 0) -> Interval:
    """Return the figure over all questions, with its 95 % percentile interval.

    statistics: (N, K), the contribution of each question to K sums.  images: N names; questions about one image stay together.
    figure: sums (..., K) -> figures (...).  With fewer than two images, both bounds equal the value.
    """
    value = float(figure(statistics.sum(0)))
    names, index = np.unique(np.asarray(images), return_inverse=True)
    if len(names) < 2:
        return Interval(value, value, value)
    by_image = np.zeros((len(names), statistics.shape[1]))
    np.add.at(by_image, index, statistics)
    rng, found = np.random.default_rng(seed), list[Numbers]()
    step = max(1, _AT_ONCE // len(names))
    for start in range(0, RESAMPLES, step):
        drawn = rng.integers(len(names), size=(min(step, RESAMPLES - start), len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
        found.append(figure(counts @ by_image))
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    return Interval(value, float(low), float(high))


def share(sums: Numbers) -> Numbers:
    """Return the first sum divided by the second, or 0: the accuracy, given right answers and questions."""
    return ratio(sums[..., 0], sums[..., 1])


def ratio(a: Numbers, b: Numbers) -> Numbers:
    """Return a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)
