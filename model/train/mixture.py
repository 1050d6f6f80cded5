"""A mixture of record sets as one fixed order of samples, each an image with some of its conversations.

The order follows from sets, weights, epochs and seed alone: any number of processes sees the same batches, and a run goes on
by an index into it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import CARD, RecordSet, open_records
from roi_agent.model.errors import DataNotFound, InvalidSetting

if TYPE_CHECKING:
    from datasets import Dataset

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """One record set of a mixture.

    table: its records.  starts: (G + 1) where each sample's records begin in it, and where the last ones end.
    weight: how often each of its samples is seen in an epoch, on average.
    """

    name: str
    records: RecordSet
    table: "Dataset"
    starts: Indices
    weight: float

    @classmethod
    def open(cls, folder: Path, weight: float, *, conversations: int) -> "Part":
        """The set in a folder; neighbouring records of one image make a sample, `conversations` of them at most.

        Errors: DataNotFound, RecordInvalid.
        """
        records = open_records(folder)
        table = records.dataset()
        return cls(folder.name, records, table, _starts(table, conversations), weight)

    @property
    def num_samples(self) -> int:
        """Images, counted again where one has more conversations than a sample takes."""
        return len(self.starts) - 1

    def read(self, sample: int) -> list[Record]:
        """The records of a sample, all about one image."""
        first, last = int(self.starts[sample]), int(self.starts[sample + 1])
        rows = self.table.select(range(first, last))
        return [Record.from_dict(row, where=f"{self.name}, record {first + n + 1}") for n, row in enumerate(rows)]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Samples in the order of training: `order` (N, 2) holds part and sample; N is a whole number of batches."""

    parts: Sequence[Part]
    order: Indices

    @classmethod
    def make(cls, parts: Sequence[Part], *, epochs: int, batch: int, seed: int) -> "Mixture":
        """Every epoch mixes all parts anew; the last batch is filled up from the beginning of the order.

        Error: DataNotFound where there is no sample at all.
        """
        order = np.concatenate([_epoch(parts, np.random.default_rng([seed, epoch])) for epoch in range(epochs)])
        if not len(order):
            raise DataNotFound("the data sets hold no records", do="convert them again, or raise their weights")
        steps = -(-len(order) // batch)
        return cls(parts, np.resize(order, (steps * batch, 2)))

    def __len__(self) -> int:
        return len(self.order)

    def read(self, position: int) -> tuple[Part, list[Record]]:
        """The sample at a place of the order."""
        part, sample = self.order[position]
        return self.parts[part], self.parts[part].read(int(sample))

    def ids(self, positions: Sequence[int]) -> list[str]:
        """The ids of all records at these places, to name them in an error."""
        return [record.id for position in positions for record in self.read(position)[1]]


def open_parts(root: Path, weights: Mapping[str, float], *, conversations: int) -> list[Part]:
    """The sets that a configuration names, from the folder that holds them.

    Errors: DataNotFound, which says how a missing one is made; InvalidSetting.
    """
    if not weights:
        raise InvalidSetting("data names no data set", do="give at least one folder with its weight")
    missing = [name for name in weights if not (root / name / CARD).is_file()]
    if missing:
        reader, _, split = missing[0].rpartition("-")
        command = f"roi-agent data convert {reader or missing[0]} SOURCE {root / missing[0]} --split {split or 'train'}"
        raise DataNotFound(f"there is no data set {', '.join(missing)} in {str(root)!r}", do=f"make it: {command}")
    return [Part.open(root / name, weight, conversations=conversations) for name, weight in weights.items()]


def _starts(table: Any, conversations: int) -> Indices:
    """Where samples begin: at each other image, and within one after every `conversations` records."""
    import pyarrow.compute

    count = len(table)
    if not count:
        return np.zeros(1, dtype=np.int64)
    images = table.data.column("image")
    other = pyarrow.compute.not_equal(images.slice(1), images.slice(0, count - 1)).to_numpy()
    runs = np.flatnonzero(np.concatenate([[True], other]))
    since = np.arange(count) - np.repeat(runs, np.diff(np.append(runs, count)))
    return np.append(np.flatnonzero(since % conversations == 0), count).astype(np.int64)


def _epoch(parts: Sequence[Part], rng: np.random.Generator) -> Indices:
    """Each sample as often as its part's weight says, the broken share drawn anew; in any order."""
    found = []
    for index, part in enumerate(parts):
        whole = int(part.weight)
        some = rng.permutation(part.num_samples)[: round((part.weight - whole) * part.num_samples)]
        samples = np.concatenate([np.tile(np.arange(part.num_samples), whole), some])
        found.append(np.stack([np.full_like(samples, index), samples], axis=1))
    return rng.permutation(np.concatenate(found)).astype(np.int64)
