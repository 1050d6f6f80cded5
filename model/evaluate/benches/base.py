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
from roi_agent.model.evaluate.intervals import Numbers, OfSums, share
from roi_agent.model.evaluate.sample import Answered, Sample
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn, mentioned

_ARTICLE = re.compile(r"^(a|an|the) ")
SHORT = 16  # tokens of an answer that is a name, a letter, yes or no


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A figure and what it is made of.

    statistics: (N, K), what each of N questions adds to K sums.  images: the N images.  figure: sums (..., K) -> figures (...).
    chance: the figure without looking, None where there is none.
    detail: of one class, or the like; it stands in the report only.
    """

    name: str
    statistics: Numbers
    images: Sequence[str]
    figure: OfSums = share
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
    def measures(self, answered: Sequence[Answered]) -> list[Measure]:
        """The figures of answers to all questions, with the right boxes or with shuffled ones."""

    def counts(self, answered: Sequence[Answered]) -> dict[str, int]:
        """What else should be known of the answers, such as how many could not be read."""
        return {}


def about(turn: str, regions: Sequence[Region]) -> tuple[Region, ...]:
    """The regions that a question mentions."""
    names = mentioned(turn)
    return tuple(bare(region) for region in regions if region.name in names)


def bare(region: Region) -> Region:
    """A region without its label, which would be the answer."""
    return Region(region.name, region.box, mask=region.mask)


def asked(record: Record, turn: int) -> tuple[Turn, ...]:
    """The conversation of a record up to a turn, which is open; the earlier ones have their right answers."""
    return (*record.conversation()[:turn], Turn(record.turns[turn].question))


def plain(text: str) -> str:
    """An answer as it is compared: small letters, no article in front, no full stop at the end."""
    return _ARTICLE.sub("", " ".join(text.lower().split()).rstrip(".")).strip()


def same(answered: Answered) -> bool:
    """Whether the written answer is the right one."""
    return not answered.output.trouble and plain(answered.output.text) == plain(answered.sample.truth)


def accuracy(name: str, answered: Sequence[Answered], right: Iterable[bool], *, chance: float | None) -> Measure:
    """The share of right answers."""
    statistics = np.array([[float(each), 1.0] for each in right]).reshape(-1, 2)
    return Measure(name, statistics, [each.sample.image for each in answered], chance=chance)


def most_frequent(answered: Sequence[Answered]) -> float:
    """The accuracy of always giving the most frequent answer."""
    truths = Counter(plain(each.sample.truth) for each in answered)
    return truths.most_common(1)[0][1] / len(answered) if answered else 0.0


def blind(answered: Sequence[Answered]) -> float:
    """The expected accuracy of drawing one of each question's options."""
    return sum(1 / len(each.sample.options or each.sample.letters) for each in answered) / max(len(answered), 1)


def of_part(answered: Sequence[Answered], *parts: str) -> list[Answered]:
    """Those of some of a bench's ways to ask."""
    return [each for each in answered if each.sample.part in parts]


def chosen(sample: Sample, options: Sequence[str], part: str) -> Sample:
    """A written question as a choice."""
    return replace(sample, options=tuple(options), part=part)
