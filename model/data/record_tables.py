"""Tables of records: Parquet files and `datasets` on disk.  Needs the extra `data`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roi_agent.model.data.record import Record
from roi_agent.model.errors import InvalidSetting, MissingExtra, RecordInvalid, UserError

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 256  # records of a Parquet file in memory at once


def parquet_rows(path: Path, chosen: Collection[int] | None) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a Parquet file, all or the chosen ones, after their numbers from 0.  Error: RecordInvalid."""
    first = 0
    with _open_parquet(path) as file:
        for batch in file.iter_batches(_BATCH):
            wanted = [index for index in range(len(batch)) if chosen is None or first + index in chosen]
            for index, values in zip(wanted, batch.take(wanted).to_pylist() if wanted else [], strict=True):
                yield first + index, values
            first += len(batch)


def num_parquet_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file, from its footer.  Error: RecordInvalid."""
    with _open_parquet(path) as file:
        return int(file.metadata.num_rows)


def write_parquet(path: Path, records: Iterable[Record]) -> int:
    """Write a Parquet file of records and return their number."""
    _datasets()
    import pyarrow
    import pyarrow.parquet

    schema, count, waiting = record_features().arrow_schema, 0, list[dict[str, Any]]()
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
            waiting.clear()

        for record in records:
            waiting.append(record.to_dict())
            count += 1
            if len(waiting) == _BATCH:
                flush()
        flush()
    return count


def cached_table(rows: Callable[..., Iterator[Mapping[str, Any]]], keys: dict[str, Any]) -> "Dataset":
    """Return rows as a `datasets.Dataset`, cached on disk with random access.

    rows: yields the JSON forms of records.  keys: its arguments, which are also the cache key.
    Errors: those of `rows`; InvalidSetting if the table cannot be written.
    """
    datasets = _datasets()
    try:
        with _progress_bars_disabled(datasets):
            made: Dataset = datasets.Dataset.from_generator(rows, features=record_features(), gen_kwargs=keys, split="train")
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, OSError):
            problem = f"the table of records cannot be written: {error.__cause__.strerror}"
            raise InvalidSetting(problem, do="make room, or set HF_DATASETS_CACHE to another folder") from None
        raise
    return made


def empty_table() -> "Dataset":
    """Return a table without records, which `from_generator` cannot create."""
    features = record_features()
    empty: Dataset = _datasets().Dataset.from_dict({name: [] for name in features}, features=features)
    return empty


def record_features() -> Any:
    """Return the columns of a table of records, as `datasets.Features`."""
    datasets = _datasets()
    text, number, whole = (datasets.Value(kind) for kind in ("string", "float64", "int64"))
    many = datasets.List
    return datasets.Features(
        {
            "id": text,
            "image": text,
            "width": whole,
            "height": whole,
            "regions": many(
                {"name": text, "box": many(number), "label": text, "score": number, "mask": {"size": many(whole), "counts": text}}
            ),
            "turns": many({"question": text, "answer": text, "options": many(text), "references": many(text)}),
            "source": text,
            "licence": text,
            "evidence": many({"kind": text, "text": text, "score": number}),
        }
    )


@contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file for reading.  Error: RecordInvalid."""
    _datasets()
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError):
        raise RecordInvalid(f"{path.name}: this is not Parquet, or it is damaged", do="create or fetch the file again") from None


@contextmanager
def _progress_bars_disabled(datasets: Any) -> Iterator[None]:
    """Disable the progress bars of datasets, which it would also print to pipes."""
    enabled = not datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            datasets.enable_progress_bars()


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("tables of records need the package datasets", do="pip install 'roi-agent[data]'") from None
    return datasets
