"""Base class of the benches, and how answers are compared."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from roi_agent.model.data.record import Record
from roi_agent.model.errors import DataNotFound
from roi_agent.model.evaluate.intervals import FigureOfSums, Numbers, share
from roi_agent.model.evaluate.sample import Prediction, Sample
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn, mentioned

_ARTICLE = re.compile(r"^(a|an|the) ")
SHORT_ANSWER = 16  # maximum tokens of a name, a letter, yes or no


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A figure and the statistics that it is computed from.

    statistics: (N, K), the contribution of each of N questions to K sums.  images: the N images.
    figure: sums (..., K) -> figures (...).  chance: the figure of a baseline that ignores the image, or None.
    detail: a figure of one class or the like, shown in the report only.
    """

    name: str
    statistics: Numbers
    images: Sequence[str]
    figure: FigureOfSums = share
    chance: float | None = None
    detail: bool = False


class Bench(ABC):
    """A benchmark on records.

    name: as in `roi-agent evaluate NAME`.  needs: what its records must contain.  chance: the baseline in the column `chance`.
    """

    name: ClassVar[str]
    needs: ClassVar[str]
    chance: ClassVar[str]

    def check(self) -> None:  # noqa: B027  # most need nothing
        """Check that all packages are installed, before the model runs.  Error: MissingExtra."""

    def samples(self, records: Sequence[Record], *, seed: int) -> list[Sample]:
        """Return all questions, in the order of the records.  seed: of random choices.  Error: DataNotFound if there are none."""
        found = list(self.ask(records, seed))
        if not found:
            raise DataNotFound(f"none of the {len(records)} records suits {self.name}", do=f"it needs {self.needs}")
        return found

    @abstractmethod
    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Yield the questions about the records; an unsuitable record yields none."""

    @abstractmethod
    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """Return the figures over all predictions, which are all with right boxes or all with shuffled ones."""

    def counts(self, predictions: Sequence[Prediction]) -> dict[str, int]:
        """Return further counts, such as the number of unreadable answers."""
        return {}


def mentioned_regions(turn: str, regions: Sequence[Region]) -> tuple[Region, ...]:
    """Return the regions that a question mentions, without labels."""
    names = mentioned(turn)
    return tuple(without_label(region) for region in regions if region.name in names)


def without_label(region: Region) -> Region:
    """Return the region without its label, which could be the answer."""
    return Region(region.name, region.box, mask=region.mask)


def turns_up_to(record: Record, turn: int) -> tuple[Turn, ...]:
    """Return the turns of a record up to the given one, which is open; earlier turns have their right answers."""
    return (*record.conversation()[:turn], Turn(record.turns[turn].question))


def normalised(text: str) -> str:
    """Return the answer in lower case, without a leading article or a final full stop."""
    return _ARTICLE.sub("", " ".join(text.lower().split()).rstrip(".")).strip()


def is_exact_match(prediction: Prediction) -> bool:
    """Whether the generated answer equals the right one, after normalisation."""
    return not prediction.output.error and normalised(prediction.output.text) == normalised(prediction.sample.truth)


def accuracy(name: str, predictions: Sequence[Prediction], right: Iterable[bool], *, chance: float | None) -> Metric:
    """Return the share of right answers as a metric."""
    statistics = np.array([[float(each), 1.0] for each in right]).reshape(-1, 2)
    return Metric(name, statistics, [each.sample.image for each in predictions], chance=chance)


def majority_baseline(predictions: Sequence[Prediction]) -> float:
    """Return the accuracy of always giving the most frequent answer."""
    truths = Counter(normalised(each.sample.truth) for each in predictions)
    return truths.most_common(1)[0][1] / len(predictions) if predictions else 0.0


def random_baseline(predictions: Sequence[Prediction]) -> float:
    """Return the expected accuracy of a random option."""
    return sum(1 / len(each.sample.options or each.sample.letters) for each in predictions) / max(len(predictions), 1)


def of_parts(predictions: Sequence[Prediction], *parts: str) -> list[Prediction]:
    """Return the predictions of these parts of a bench."""
    return [each for each in predictions if each.sample.part in parts]


def as_choice(sample: Sample, options: Sequence[str], part: str) -> Sample:
    """Return the sample as a choice between the options."""
    return replace(sample, options=tuple(options), part=part)
