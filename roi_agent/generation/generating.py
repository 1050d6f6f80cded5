"""Generation of a data set folder from image files, image by image and resumable.

During a run, the folder contains `generation.json`, which identifies the run, and `journal.jsonl`, with a line for each finished
image. In the end it contains the files of a conversion: `records-*.jsonl`, `troubles.jsonl` and the card.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roi_agent.generation.record_generator import ImageResult, RecordGenerator
from roi_agent.model.data.readers.base import IMAGE_UNREADABLE
from roi_agent.model.data.record_files import CARD, Card
from roi_agent.model.errors import DataNotFound, InvalidSetting, UserError
from roi_agent.model.images.formats import EXTENSIONS
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.utils.progress import progress_bar

STATE, JOURNAL, RECORDS, TROUBLES = "generation.json", "journal.jsonl", "records-00000.jsonl", "troubles.jsonl"


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run.  dropped: conversations by reason.  unreadable: number of images."""

    images: int
    unreadable: int
    regions: int
    written: int
    kept: int
    dropped: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def image_files(given: Sequence[Path]) -> tuple[Path, list[str]]:
    """Return the folder that contains all images, and their paths below it with "/".  given: files, and folders to search.

    Error: DataNotFound.
    """
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(each for each in path.rglob("*") if each.suffix.lower() in EXTENSIONS and each.is_file())
        elif path.is_file():
            files.append(path)
        else:
            raise DataNotFound(f"there is no image or folder {str(path)!r}", do="name images, or a folder of them")
    if not files:
        raise DataNotFound("the given folders contain no images", do=f"use files that end in {', '.join(EXTENSIONS)}")
    files = [each.resolve() for each in dict.fromkeys(files)]
    root = Path(os.path.commonpath([each.parent for each in files]))
    return root, [each.relative_to(root).as_posix() for each in dict.fromkeys(files)]


def generate(
    generator: RecordGenerator,
    root: Path,
    names: Sequence[str],
    folder: Path,
    *,
    identity: dict[str, Any],
    show_progress: bool = True,
) -> Summary:
    """Write the records of images into a folder; the same call resumes an interrupted run.

    root, names: as returned by `image_files`.  identity: what identifies a run besides images and settings, such as the names
    of the models.
    Errors: InvalidSetting if the folder contains anything else; those of the models and of the writer.
    """
    stats = [[name, (root / name).stat().st_size, (root / name).stat().st_mtime_ns] for name in names]
    asked = {key: value for key, value in asdict(generator.settings).items() if key != "images"}
    _begin(folder, json.loads(json.dumps({"images": str(root), "files": stats, "settings": asked, **identity})))
    journal = folder / JOURNAL
    done = {entry["image"] for entry in _entries(journal)}
    missing = [name for name in names if name not in done]
    with progress_bar(show_progress) as progress, journal.open("a", encoding="utf-8") as lines:
        task = progress.add_task("generating", total=len(names), completed=len(names) - len(missing))
        for start in range(0, len(missing), generator.settings.images):
            batch = missing[start : start + generator.settings.images]
            for entry in _batch(generator, root, batch):
                lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
            lines.flush()
            progress.update(task, advance=len(batch))
    return _finish(folder, root, names, generator)


def _batch(generator: RecordGenerator, root: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield a journal entry for each image."""
    loaded: list[tuple[str, LoadedImage]] = []
    for name in names:
        try:
            loaded.append((name, load_image(root / name)))
        except UserError as error:
            yield {"image": name, "unreadable": error.problem}
    for (name, _), result in zip(loaded, generator.generate(loaded) if loaded else (), strict=True):
        yield {"image": name, **_entry(result)}


def _entry(result: ImageResult) -> dict[str, Any]:
    return {
        "records": [record.to_dict() for record in result.records],
        "dropped": [asdict(each) for each in result.dropped],
        "written": result.written,
        "regions": result.regions,
    }


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield the finished images; a truncated last line is removed."""
    if not journal.exists():
        return
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with journal.open("r+b") as file:
            file.truncate(len(whole))
    yield from map(json.loads, whole.splitlines())


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    """Claim a folder for this run, or check that this run has claimed it."""
    state = folder / STATE
    if state.exists():
        if json.loads(state.read_text(encoding="utf-8")) != identity:
            raise InvalidSetting(f"{str(folder)!r} contains another unfinished run", do="name another folder")
        return
    if folder.exists() and (not folder.is_dir() or any(each.name != f"{STATE}.part" for each in folder.iterdir())):
        kind = "a finished data set" if (folder / CARD).exists() else "files already"
        raise InvalidSetting(f"{str(folder)!r} contains {kind}", do="name a folder that is empty or does not exist")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(state, json.dumps(identity, indent=2))
    except OSError as error:
        raise InvalidSetting(f"cannot write to {str(folder)!r}: {error.strerror}", do="name another folder") from None


def _finish(folder: Path, root: Path, names: Sequence[str], generator: RecordGenerator) -> Summary:
    """Convert the journal to a data set, in the order of the images."""
    entries = {entry["image"]: entry for entry in _entries(folder / JOURNAL)}
    ordered = [entries[name] for name in names]
    records = [record for entry in ordered for record in entry.get("records", ())]
    troubles = [trouble for entry in ordered for trouble in _troubles(entry)]
    _write(folder / RECORDS, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records))
    _write(folder / TROUBLES, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in troubles))
    counts = dict(sorted(Counter(each["kind"] for each in troubles).items()))
    Card("generated", str(root), len(records), generator.source, generator.licence, counts).save(folder)
    for name in (STATE, JOURNAL):
        (folder / name).unlink()
    unreadable = counts.pop(IMAGE_UNREADABLE, 0)
    regions, written = (sum(entry.get(key, 0) for entry in ordered) for key in ("regions", "written"))
    return Summary(len(names), unreadable, regions, written, len(records), counts)


def _troubles(entry: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield troubles in the form of `readers.base.Trouble`."""
    if "unreadable" in entry:
        yield {"kind": IMAGE_UNREADABLE, "where": entry["image"], "problem": entry["unreadable"]}
    for each in entry.get("dropped", ()):
        yield {"kind": each["reason"], "where": entry["image"], "problem": each["text"] or "the writer's output cannot be read"}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
