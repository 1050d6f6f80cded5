"""Convert a public data set, as distributed, to a folder of records.  Several processes share the work, and it can be resumed.

During a conversion, the folder contains `conversion.json`, and the records and troubles of each finished part. A part is a fixed
number of the reader's groups, so it does not depend on the number of processes or on interruptions.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from roi_agent.model.data.parallel import exclusive_folder, run_in_processes
from roi_agent.model.data.readers.base import FIXED, IMAGE_UNREADABLE, Reader, Trouble
from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import CARD, FORMATS, Card, num_records, write_records
from roi_agent.model.errors import DataRefused, InvalidSetting
from roi_agent.model.utils.atomic_files import write_atomically
from roi_agent.model.utils.progress import progress_bar

STATE, TROUBLES = "conversion.json", "troubles.jsonl"
GROUPS = 1000  # groups in one part; a group is usually one image


@dataclass(frozen=True, slots=True)
class ConversionSettings:
    """Options of a conversion.

    format: jsonl or parquet.  refuse: stop at the first unusable annotation, instead of skipping it.
    limit: maximum number of groups to read.  processes: number of processes.  seed: of the random wordings.
    groups: number of groups in one part.  Error: InvalidSetting.
    """

    format: str = "jsonl"
    refuse: bool = False
    limit: int | None = None
    processes: int = 1
    seed: int = 0
    groups: int = GROUPS

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InvalidSetting(f"the format is {self.format!r}", do=f"use one of {', '.join(FORMATS)}")
        for key in ("limit", "processes", "groups"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise InvalidSetting(f"{key} is {value}", do="give at least 1")


def convert(reader: Reader, folder: Path, settings: ConversionSettings, *, show_progress: bool = True) -> Card:
    """Write all records of a reader into a folder; repeating an interrupted call resumes it.

    Errors: InvalidSetting if the folder contains anything else, is in use by another conversion, or cannot be written;
    DataRefused; OutOfMemory if a process was killed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_folder(folder):
            return _convert(reader, folder, settings, show_progress)
    except OSError as error:
        problem = f"cannot write to {str(folder)!r}: {error.strerror}"
        raise InvalidSetting(problem, do="make room there, or name another folder; finished parts are kept") from None


def _convert(reader: Reader, folder: Path, settings: ConversionSettings, show_progress: bool) -> Card:
    groups = list(islice(reader.groups(), settings.limit))
    starts = range(0, len(groups), settings.groups)
    _begin(folder, _identity(reader, settings, len(groups)))
    missing = [number for number in range(len(starts)) if not _part_path(folder, number, settings.format).exists()]
    if settings.refuse:
        _raise_first(reader.troubles)
    work = partial(_convert_part, reader, groups, folder, settings)
    with progress_bar(show_progress) as progress:
        task = progress.add_task(reader.name, total=len(groups), completed=max(0, len(groups) - len(missing) * settings.groups))
        for number in run_in_processes(work, missing, settings.processes):
            progress.update(task, advance=min(settings.groups, len(groups) - starts[number]))
    return _finish(reader, folder, settings, len(starts))


def _convert_part(reader: Reader, groups: Sequence[Any], folder: Path, settings: ConversionSettings, number: int) -> int:
    """Convert one part, atomically, and return its number.  Error: DataRefused."""
    troubles: list[Trouble] = []
    damage = cache(reader.images.damage)  # decode each image once, not once for each record

    def records() -> Iterator[Record]:
        start = number * settings.groups
        for index in range(start, min(start + settings.groups, len(groups))):
            for found in reader.read(groups[index], Random(f"{settings.seed} {reader.name} {reader.split} {index}")):
                if isinstance(found, Record) and (problem := damage(found.image)):
                    found = Trouble(IMAGE_UNREADABLE, found.id, problem)
                if isinstance(found, Record):
                    yield found
                else:
                    troubles.append(found)
                    if settings.refuse:
                        _raise_first([found])

    target = _part_path(folder, number, settings.format)
    unfinished = target.with_suffix(".unfinished" + target.suffix)
    write_records(unfinished, records())
    _write_troubles(_troubles_path(folder, number), troubles)
    os.replace(unfinished, target)  # last, so that an existing part is complete
    return number


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    """Mark the folder as that of this conversion.  Error: InvalidSetting if it contains anything else."""
    state = folder / STATE
    if state.exists():
        if _state(state) != identity:
            problem = f"{str(folder)!r} contains a conversion of other files or with other options"
            raise InvalidSetting(problem, do="name another folder, or remove this one")
        return
    if any(each.name != f"{STATE}.part" for each in folder.iterdir()):  # a killed call may leave this file
        kind = "a finished data set" if (folder / CARD).exists() else "files already"
        raise InvalidSetting(f"{str(folder)!r} contains {kind}", do="name an empty or new folder")
    write_atomically(state, lambda path: path.write_text(json.dumps(identity, indent=2), encoding="utf-8"))


def _state(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _identity(reader: Reader, settings: ConversionSettings, groups: int) -> dict[str, Any]:
    """Return the inputs and options that an interrupted conversion must share with the call that resumes it."""
    files = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in reader.files]
    kept = {key: value for key, value in asdict(settings).items() if key not in ("processes", "refuse")}
    images = str(reader.images.folder.resolve())
    return {"reader": reader.name, "split": reader.split, "files": files, "images": images, "groups": groups, "settings": kept}


def _finish(reader: Reader, folder: Path, settings: ConversionSettings, parts: int) -> Card:
    """Merge the troubles of all parts, write the card, and remove the files for resuming."""
    troubles = list(reader.troubles)
    for number in range(parts):
        lines = _troubles_path(folder, number).read_bytes().splitlines()
        troubles += [Trouble(**json.loads(line)) for line in lines]
    if settings.refuse:  # an earlier run without --refuse may have finished parts with troubles
        _raise_first(troubles)
    _write_troubles(folder / TROUBLES, troubles)
    card = Card(
        name=f"{reader.name} {reader.split}",
        images=str(reader.images.folder.resolve()),
        records=sum(num_records(_part_path(folder, number, settings.format)) for number in range(parts)),
        source=reader.source,
        licence=reader.licence,
        troubles=dict(sorted(Counter(each.kind for each in troubles).items())),
    )
    card.save(folder)
    for path in (folder / STATE, *(_troubles_path(folder, number) for number in range(parts))):
        path.unlink(missing_ok=True)
    return card


def _raise_first(troubles: Sequence[Trouble]) -> None:
    for each in troubles:
        if each.kind not in FIXED:
            raise DataRefused(f"{each.where}: {each.problem}", do="fix it, or convert without --refuse, which skips it")


def _write_troubles(path: Path, troubles: Sequence[Trouble]) -> None:
    text = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in troubles)
    # File names may contain bytes that are not UTF-8.
    write_atomically(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8", errors="backslashreplace"))


def _part_path(folder: Path, number: int, format: str) -> Path:
    return folder / f"records-{number:05d}.{format}"


def _troubles_path(folder: Path, number: int) -> Path:
    return folder / f"troubles-{number:05d}.jsonl"
