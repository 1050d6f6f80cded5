"""A mixture of record sets as a fixed order of samples, each an image with some of its conversations.

The order depends on sets, weights, epochs and seed alone: any number of processes sees the same batches, and a run resumes from
an index.
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

    table: its records.  starts: (G + 1), the index of each sample's first record, and the end.
    weight: how often a sample is seen in an epoch, on average.
    """

    name: str
    records: RecordSet
    table: "Dataset"
    starts: Indices
    weight: float

    @classmethod
    def open(cls, folder: Path, weight: float, *, conversations: int) -> "Part":
        """Open the set in a folder; up to `conversations` adjacent records of one image make a sample.

        Errors: DataNotFound, RecordInvalid.
        """
        records = open_records(folder)
        table = records.dataset()
        return cls(folder.name, records, table, _starts(table, conversations), weight)

    @property
    def num_samples(self) -> int:
        """The number of samples: images, counted again for each further sample of their conversations."""
        return len(self.starts) - 1

    def read(self, sample: int) -> list[Record]:
        """The records of a sample, all about one image."""
        first, last = int(self.starts[sample]), int(self.starts[sample + 1])
        rows = self.table.select(range(first, last))
        return [Record.from_dict(row, where=f"{self.name}, record {first + n + 1}") for n, row in enumerate(rows)]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Samples in training order: `order` (N, 2) contains part and sample; N is a multiple of the batch."""

    parts: Sequence[Part]
    order: Indices

    @classmethod
    def make(cls, parts: Sequence[Part], *, epochs: int, batch: int, seed: int) -> "Mixture":
        """Shuffle all parts in every epoch; the last batch is filled from the start of the order.

        Error: DataNotFound without any sample.
        """
        order = np.concatenate([_epoch(parts, np.random.default_rng([seed, epoch])) for epoch in range(epochs)])
        if not len(order):
            raise DataNotFound("the data sets contain no records", do="convert them again, or raise their weights")
        steps = -(-len(order) // batch)
        return cls(parts, np.resize(order, (steps * batch, 2)))

    def __len__(self) -> int:
        return len(self.order)

    def read(self, position: int) -> tuple[Part, list[Record]]:
        """The sample at a position of the order."""
        part, sample = self.order[position]
        return self.parts[part], self.parts[part].read(int(sample))

    def ids(self, positions: Sequence[int]) -> list[str]:
        """The ids of all records at these positions, for error messages."""
        return [record.id for position in positions for record in self.read(position)[1]]


def open_parts(root: Path, weights: Mapping[str, float], *, conversations: int) -> list[Part]:
    """Open the sets of a configuration in a folder.

    Errors: DataNotFound, with the command that makes a missing one; InvalidSetting.
    """
    if not weights:
        raise InvalidSetting("data lists no data set", do="give at least one folder with its weight")
    missing = [name for name in weights if not (root / name / CARD).is_file()]
    if missing:
        reader, _, split = missing[0].rpartition("-")
        command = f"roi-agent data convert {reader or missing[0]} SOURCE {root / missing[0]} --split {split or 'train'}"
        raise DataNotFound(f"there is no data set {', '.join(missing)} in {str(root)!r}", do=f"make it: {command}")
    return [Part.open(root / name, weight, conversations=conversations) for name, weight in weights.items()]


def _starts(table: Any, conversations: int) -> Indices:
    """Starts of samples: at every new image, and after every `conversations` records of one."""
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
    """One epoch, shuffled: each sample as often as its part's weight, the fractional share drawn at random."""
    found = []
    for index, part in enumerate(parts):
        whole = int(part.weight)
        some = rng.permutation(part.num_samples)[: round((part.weight - whole) * part.num_samples)]
        samples = np.concatenate([np.tile(np.arange(part.num_samples), whole), some])
        found.append(np.stack([np.full_like(samples, index), samples], axis=1))
    return rng.permutation(np.concatenate(found)).astype(np.int64)
