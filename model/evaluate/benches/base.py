"""What every bench shares: its questions, its measures, and how answers are compared."""

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
SHORT_ANSWER = 16  # tokens of an answer that is a name, a letter, yes or no


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A figure and what it is made of.

    statistics: (N, K), what each of N questions adds to K sums.  images: the N images.  figure: sums (..., K) -> figures (...).
    chance: the figure without looking, None where there is none.
    detail: of one class, or the like; it stands in the report only.
    """

    name: str
    statistics: Numbers
    images: Sequence[str]
    figure: FigureOfSums = share
    chance: float | None = None
    detail: bool = False


class Bench(ABC):
    """One way to measure a model on records.

    name: as in `roi-agent evaluate NAME`.  needs: what its records hold.  chance: what stands in the column of that name.
    """

    name: ClassVar[str]
    needs: ClassVar[str]
    chance: ClassVar[str]

    def check(self) -> None:  # noqa: B027  # most need nothing
        """Whether all that the figures need is installed, before anything is asked.  Error: MissingExtra."""

    def samples(self, records: Sequence[Record], *, seed: int) -> list[Sample]:
        """All questions, in the order of the records.  seed: of what is drawn.  Error: DataNotFound where there is none."""
        found = list(self.ask(records, seed))
        if not found:
            raise DataNotFound(f"none of the {len(records)} records suits {self.name}", do=f"it needs {self.needs}")
        return found

    @abstractmethod
    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """The questions about the records; a record that does not suit the bench gives none."""

    @abstractmethod
    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """The figures of answers to all questions, with the right boxes or with shuffled ones."""

    def counts(self, predictions: Sequence[Prediction]) -> dict[str, int]:
        """What else should be known of the answers, such as how many could not be read."""
        return {}


def mentioned_regions(turn: str, regions: Sequence[Region]) -> tuple[Region, ...]:
    """The regions that a question mentions."""
    names = mentioned(turn)
    return tuple(without_label(region) for region in regions if region.name in names)


def without_label(region: Region) -> Region:
    """A region without its label, which would be the answer."""
    return Region(region.name, region.box, mask=region.mask)


def turns_up_to(record: Record, turn: int) -> tuple[Turn, ...]:
    """The conversation of a record up to a turn, which is open; the earlier ones have their right answers."""
    return (*record.conversation()[:turn], Turn(record.turns[turn].question))


def normalised(text: str) -> str:
    """An answer as it is compared: small letters, no article in front, no full stop at the end."""
    return _ARTICLE.sub("", " ".join(text.lower().split()).rstrip(".")).strip()


def is_exact_match(prediction: Prediction) -> bool:
    """Whether the written answer is the right one."""
    return not prediction.output.error and normalised(prediction.output.text) == normalised(prediction.sample.truth)


def accuracy(name: str, predictions: Sequence[Prediction], right: Iterable[bool], *, chance: float | None) -> Metric:
    """The share of right answers."""
    statistics = np.array([[float(each), 1.0] for each in right]).reshape(-1, 2)
    return Metric(name, statistics, [each.sample.image for each in predictions], chance=chance)


def majority_baseline(predictions: Sequence[Prediction]) -> float:
    """The accuracy of always giving the most frequent answer."""
    truths = Counter(normalised(each.sample.truth) for each in predictions)
    return truths.most_common(1)[0][1] / len(predictions) if predictions else 0.0


def random_baseline(predictions: Sequence[Prediction]) -> float:
    """The expected accuracy of drawing one of each question's options."""
    return sum(1 / len(each.sample.options or each.sample.letters) for each in predictions) / max(len(predictions), 1)


def of_parts(predictions: Sequence[Prediction], *parts: str) -> list[Prediction]:
    """Those of some of a bench's ways to ask."""
    return [each for each in predictions if each.sample.part in parts]


def as_choice(sample: Sample, options: Sequence[str], part: str) -> Sample:
    """A written question as a choice."""
    return replace(sample, options=tuple(options), part=part)
