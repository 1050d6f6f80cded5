"""Record files: JSON Lines or Parquet, alone or in a folder with a card.

A folder contains `dataset.json` (the card) and `records-*.jsonl` or `records-*.parquet`. After a conversion it also contains
`troubles.jsonl`, which lists annotations that were skipped or fixed, with the reason.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from roi_agent.model.data.record import Record
from roi_agent.model.data.record_tables import cached_table, empty_table, num_parquet_rows, parquet_rows, write_parquet
from roi_agent.model.errors import DataNotFound, RecordInvalid
from roi_agent.model.images.folder import ImageFolder, leads_out
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.utils.atomic_files import write_atomically
from roi_agent.model.utils.messages import escaped

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

CARD = "dataset.json"
FORMATS = ("jsonl", "parquet")
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Card:
    """Metadata of a data set.

    name: of the data set and its split, such as "refcoco train".  images: the folder of images, absolute or relative to the card.
    source, licence: as in the records.  troubles: number of annotations that were skipped or fixed, by kind.
    """

    name: str
    images: str
    records: int
    source: str
    licence: str
    troubles: dict[str, int] = field(default_factory=dict)
    version: int = _VERSION

    def save(self, folder: Path) -> None:
        """Write the card into the data set's folder, atomically."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_atomically(folder / CARD, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, folder: Path) -> "Card":
        """Read the card of a folder.  Error: DataNotFound if there is none, or it cannot be read."""
        try:
            values = json.loads((folder / CARD).read_text(encoding="utf-8"))
            if values.get("version") != _VERSION or set(values) != {each.name for each in fields(cls)}:
                raise ValueError
            return cls(**values)
        except FileNotFoundError:
            raise DataNotFound(f"there is no {CARD} in {folder.name!r}", do="give a folder that a conversion wrote") from None
        except (ValueError, TypeError, AttributeError):
            problem = f"{CARD} in {folder.name!r} is damaged or of a newer version"
            raise DataNotFound(problem, do="convert the data set again") from None


class RecordSet:
    """The records of a file or a folder, in order.

    path: a .jsonl or .parquet file, or a folder with a card.
    images: the folder of images; by default that of the card, or the folder of the file.
    Errors: DataNotFound; RecordInvalid, with file, line and field, when an invalid record is read.
    """

    def __init__(self, path: str | Path, *, images: str | Path | None = None) -> None:
        path = Path(path)
        if path.is_dir():
            self.card: Card | None = Card.load(path)
            self.files = sorted(each for form in FORMATS for each in path.glob(f"records-*.{form}"))
            self.images, self.name = path / self.card.images, self.card.name
        elif path.is_file() and path.suffix.removeprefix(".") in FORMATS:
            self.card, self.files, self.images, self.name = None, [path], path.parent, path.stem
        else:
            raise DataNotFound(f"there are no records at {str(path)!r}", do="give a .jsonl or .parquet file, or a folder of them")
        self.images = Path(images) if images is not None else self.images
        if not self.images.is_dir():
            raise DataNotFound(f"the folder of images {str(self.images)!r} does not exist", do="name it with --images FOLDER")
        self._found = ImageFolder(self.images)

    def __iter__(self) -> Iterator[Record]:
        for path in self.files:
            yield from read_records(path)

    def sample(self, count: int, *, seed: int = 0) -> list[Record]:
        """Draw up to `count` records uniformly, in order, without reading the others."""
        sizes = [num_records(path) for path in self.files]
        drawn = set(Random(seed).sample(range(sum(sizes)), min(count, sum(sizes))))
        found: list[Record] = []
        for path, size, start in zip(self.files, sizes, accumulate(sizes, initial=0), strict=False):
            chosen = {number - start for number in drawn if start <= number < start + size}
            found += [Record.from_dict(values, where=where) for where, values in read_values(path, chosen)]
        return found

    def image(self, record: Record) -> LoadedImage:
        """Load the record's image.  Errors: those of `load_image`; RecordInvalid if its size differs from the record's."""
        image = load_image(self.image_path(record))
        if image.size_wh != record.size_wh:
            given, found = ("{} x {}".format(*size) for size in (record.size_wh, image.size_wh))
            raise RecordInvalid(f"{record.id}: the record states {given} pixels, but {record.image} has {found}")
        return image

    def has_image(self, record: Record) -> bool:
        """Whether the record's image exists; it may be damaged.  Error: RecordInvalid."""
        return self.image_path(record).is_file()

    def image_path(self, record: Record) -> Path:
        """Return the path of the record's image, as `ImageFolder` finds it; the file may be missing.

        Error: RecordInvalid if the path leads out of the folder of images.
        """
        if leads_out(record.image):
            raise RecordInvalid(f"{record.id}: its image {escaped(record.image)} is not below the folder of images")
        found = self._found.find(record.image)
        return self.images / (found[0] if len(found) == 1 else record.image)

    def dataset(self) -> "Dataset":
        """Return all records, checked, as a `datasets.Dataset` of their JSON forms, on disk with random access."""
        if next(iter(self), None) is None:
            return empty_table()
        # Size and time of the files are part of the cache key, so that a changed file is read again.
        stats = [(each.stat().st_size, each.stat().st_mtime_ns) for each in self.files]
        return cached_table(_rows, {"files": [str(each) for each in self.files], "stats": stats})

    def stream(self, *, seed: int | None = None, shards: int = 1) -> "IterableDataset":
        """Return the records of `dataset` as a stream, shuffled if a seed is given.

        `state_dict` returns the position in the stream, and `load_state_dict` resumes at exactly the next record.
        Error: DataNotFound if there are no records.
        """
        whole = self.dataset()
        if not len(whole):
            raise DataNotFound(f"there are no records in {self.name!r}", do="see its troubles.jsonl for the reasons")
        mixed = whole.shuffle(seed=seed) if seed is not None else whole  # no shuffle buffer, which a restart would lose
        return mixed.to_iterable_dataset(num_shards=min(shards, len(whole)))


def open_records(path: str | Path, *, images: str | Path | None = None) -> RecordSet:
    """Open the records of a file or a folder; see `RecordSet`."""
    return RecordSet(path, images=images)


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of one file, in order.  Error: RecordInvalid, with file, line (or row) and field."""
    for where, values in read_values(path):
        yield Record.from_dict(values, where=where)


def read_values(path: Path, chosen: Collection[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the JSON form of each record of one file, unchecked, after its file and line (or row).

    chosen: the numbers of the records to read, from 0; by default all.  Error: RecordInvalid for a line that is not JSON.
    """
    if path.suffix == ".parquet":
        for row, values in parquet_rows(path, chosen):
            yield f"{path.name}, row {row + 1}", values
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if chosen is not None and number not in chosen:
                continue
            where = f"{path.name}, line {number + 1}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):  # an encoding that is not UTF-8 is a ValueError
                raise RecordInvalid(f"{where}: this is not JSON", do="give one JSON object a line") from None
            yield where, values


def num_records(path: Path) -> int:
    """Return the number of records of one file, without reading them.  Error: RecordInvalid for a damaged Parquet file."""
    if path.suffix == ".parquet":
        return num_parquet_rows(path)
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write a .jsonl or .parquet file of records, atomically, and return the number of records."""
    write = write_parquet if path.suffix == ".parquet" else _write_lines
    return write_atomically(path, lambda unfinished: write(unfinished, records))


def _rows(files: list[str], stats: list[tuple[int, int]]) -> Iterator[Mapping[str, Any]]:
    for path in files:
        for record in read_records(Path(path)):
            yield record.to_dict()


def _write_lines(path: Path, records: Iterable[Record]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count
