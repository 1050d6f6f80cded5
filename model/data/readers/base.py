"""Base class of the readers, and the checks that they share: files, images, boxes and texts."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar, TypeVar

from roi_agent.model.data.record import Record
from roi_agent.model.errors import BoxEmpty, BoxOutOfBounds, DataNotFound, RecordInvalid, UserError
from roi_agent.model.geometry.annotations import annotated_box, as_id, is_fractions, whole_number
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.images.folder import ImageFolder, last_part, leads_out
from roi_agent.model.images.loading import image_size, load_image
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.utils.messages import escaped

_T = TypeVar("_T")

# Kinds of troubles for which an annotation is skipped ...
MISSING_IMAGE, IMAGE_UNREADABLE, IMAGE_SIZE = "missing_image", "image_unreadable", "image_size"
BOX_OUTSIDE, BOX_EMPTY, NO_TEXT, MALFORMED = "box_outside", "box_empty", "no_text", "malformed"
# ... and kinds that are fixed or ignored, and counted.
CLIPPED, CHOICE_REPEATED, MASK_INVALID = "box_clipped", "choice_repeated", "mask_invalid"
NO_DETECTIONS, UNRELATED = "no_detections", "caption_unrelated"
FIXED = (CLIPPED, CHOICE_REPEATED, MASK_INVALID, NO_DETECTIONS, UNRELATED)
KINDS = (MISSING_IMAGE, IMAGE_UNREADABLE, IMAGE_SIZE, BOX_OUTSIDE, BOX_EMPTY, NO_TEXT, MALFORMED, *FIXED)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem of an annotation, which was fixed if the kind is one of FIXED, and else skipped.

    kind: one of KINDS.  where: the file and the entry.  problem: a description.
    """

    kind: str
    where: str
    problem: str


class Unusable(Exception):
    """Raised for an annotation that cannot be used; the reader yields its trouble."""

    def __init__(self, kind: str, where: str, problem: str) -> None:
        super().__init__(problem)
        self.trouble = Trouble(kind, where, problem)


class Reader(ABC):
    """Reads one public data set, as distributed.

    The constructor finds and reads the annotation files (Errors: DataNotFound, which names the missing files; RecordInvalid for a
    file in another format). Records are then read group by group, so that several processes can share the work and a conversion
    can be resumed.

    name: as in `roi-agent data convert NAME`.  about: the data set, in one line.  layout: the files that it reads, a line each.
    source, licence: of its records.  splits: of the data set; the first is the default.
    root: the folder of annotations.  images: the folder that the image paths of records are relative to.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    layout: ClassVar[tuple[str, ...]]
    source: ClassVar[str]
    licence: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "val")

    def __init__(self, root: Path, *, images: Path, split: str) -> None:
        if not images.is_dir():
            raise DataNotFound(f"the folder of images {str(images)!r} does not exist", do="name it with --images FOLDER")
        self.root, self.images, self.split = root, Images(images), split
        self.files: list[Path] = []  # annotation files that were read
        self.troubles: list[Trouble] = []  # found before any group is read

    @abstractmethod
    def groups(self) -> Sequence[Any]:
        """Return everything to read, usually an entry for each image, in a fixed order."""

    @abstractmethod
    def read(self, group: Any, rng: Random) -> Iterator[Record | Trouble]:
        """Yield the records and the troubles of one group; the records of an image are consecutive.

        rng: its state depends on the group only.
        """

    def find(self, *names: str) -> Path:
        """Return the first of these files that exists below the root.  Error: DataNotFound."""
        for name in names:
            if (path := self.root / name).is_file():
                self.files.append(path)
                return path
        wanted = " or ".join(names)
        raise DataNotFound(f"there is no {wanted} in {str(self.root)!r}", do=f"{self.name} needs: {'; '.join(self.layout)}")

    def load_json(self, *names: str) -> Any:
        """Read the first of these JSON files that exists below the root.  Errors: DataNotFound, RecordInvalid."""
        return read_json(self.find(*names))

    def objects(self, data: object, key: str, *fields: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the objects of a list in the last file that was read, each after its location; other entries go to `troubles`.

        fields: required, each an integer or a text.  Error: RecordInvalid if there is no such list.
        """
        file = self.files[-1].name
        for index, each in enumerate(required(data, key, list, where=file)):
            where = f"{file}, {key}[{index}]"
            if not isinstance(each, Mapping):
                self.troubles.append(Trouble(MALFORMED, where, "it is not an object"))
            elif lacking := [name for name in fields if as_id(each.get(name)) is None]:
                self.troubles.append(Trouble(MALFORMED, where, _no_id(each, lacking[0])))
            else:
                yield where, each

    def by_id(self, entries: Sequence[Any], key: str, *, where: str) -> dict[int | str, Mapping[str, Any]]:
        """Return entries by an id field, as parsed by `as_id`.  Entries without it, and different entries with the same id, go to
        `troubles`.
        """
        return self.unique(((f"{where}[{number}]", entry) for number, (_, entry) in self._keyed(entries, key, where)), key)

    def unique(self, entries: Iterable[tuple[str, Mapping[str, Any]]], key: str) -> dict[int | str, Mapping[str, Any]]:
        """As `by_id`, for entries that are known to have the field, each after its location."""
        places: dict[int | str, list[tuple[str, Mapping[str, Any]]]] = {}
        for where, entry in entries:
            places.setdefault(as_id(entry[key]) or 0, []).append((where, entry))
        found: dict[int | str, Mapping[str, Any]] = {}
        for value, same in places.items():
            if all(entry == same[0][1] for _, entry in same):
                found[value] = same[0][1]
            else:
                self.troubles += [Trouble(MALFORMED, where, f"its {key} {escaped(value)} is not unique") for where, _ in same]
        return found

    def by_field(self, entries: Sequence[Any], key: str, *, where: str) -> dict[int | str, list[Mapping[str, Any]]]:
        """Return lists of entries by an id field, in the order of first appearance; entries without it go to `troubles`."""
        found: dict[int | str, list[Mapping[str, Any]]] = {}
        for _, (value, entry) in self._keyed(entries, key, where):
            found.setdefault(value, []).append(entry)
        return found

    def _keyed(self, entries: Sequence[Any], key: str, where: str) -> Iterator[tuple[int, tuple[int | str, Mapping[str, Any]]]]:
        for number, entry in enumerate(entries):
            value = as_id(entry.get(key)) if isinstance(entry, Mapping) else None
            if value is not None:
                yield number, (value, entry)
            else:
                self.troubles.append(Trouble(MALFORMED, f"{where}[{number}]", _no_id(entry, key)))


def _no_id(entry: object, key: str) -> str:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    return f"it has no {key}" if value is None else f"its {key} is {escaped(value)}"


def read_json(path: Path) -> Any:
    """Read a JSON file.  Errors: DataNotFound, RecordInvalid."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        problem = f"{path.name}: this is not JSON{place}"
        raise RecordInvalid(problem, do="fetch the file again, it may be truncated") from None
    except OSError as error:
        raise DataNotFound(f"{str(path)!r} cannot be read: {error.strerror}", do="check its permissions") from None


class Images:
    """The folder of images of a data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = ImageFolder(folder)

    def find(self, *names: str, where: str) -> str:
        """Return the first of these paths that `ImageFolder.find` finds in the folder, with "/".  Error: Unusable."""
        for name in names:
            if leads_out(name):
                raise Unusable(MALFORMED, where, f"its image {escaped(name)} is not below the folder of images")
            if len(found := self._files.find(name)) == 1:
                return found[0]
            if found:
                raise Unusable(MISSING_IMAGE, where, f"{len(found)} images are called {last_part(name)}")
        raise Unusable(MISSING_IMAGE, where, f"there is no image {' or '.join(names)}")

    def find_sized(self, *names: str, size_wh: tuple[object, object], where: str) -> tuple[str, tuple[int, int]]:
        """As `find`, and return the image's size in pixels too, which must agree with the annotations.  Error: Unusable.

        size_wh: as stated by the annotations; None for a side that they do not state.
        """
        sides = zip(size_wh, ("width", "height"), strict=True)
        stated = [None if side is None else parse_whole_number(side, where=where, what=what) for side, what in sides]
        name = self.find(*names, where=where)
        found = self.size_wh(name, where=where)
        if any(side not in (None, real) for side, real in zip(stated, found, strict=True)):
            stated_size = " x ".join("?" if side is None else str(side) for side in stated)
            raise Unusable(IMAGE_SIZE, where, "{} is {} x {} pixels, not {}".format(name, *found, stated_size))
        return name, found

    def damage(self, name: str) -> str:
        """Return the reason why the image cannot be decoded, or an empty text."""
        try:
            load_image(self.folder / name)
        except UserError as error:
            return error.problem
        return ""

    def size_wh(self, name: str, *, where: str) -> tuple[int, int]:
        """Return width and height of the upright image, from the file's header.  Error: Unusable."""
        try:
            return image_size(self.folder / name)
        except UserError as error:
            raise Unusable(IMAGE_UNREADABLE, where, error.problem) from None


def fit_box(
    values: object, *, format: str, size_wh: tuple[int, int], where: str, surely_pixels: bool = False
) -> tuple[Box, list[Trouble]]:
    """Return a box, and a trouble if it was clipped, which is allowed for up to one pixel outside the image.

    values: four numbers in pixels.  surely_pixels: accept numbers that look like fractions of the image.  Error: Unusable.
    """
    try:
        box = Box.parse(values, format=format, size_wh=size_wh)
        if not surely_pixels and is_fractions(values):
            raise Unusable(MALFORMED, where, f"its box {escaped(values)} is in fractions of the image, and not in pixels")
        return box, []
    except BoxOutOfBounds as error:
        problem = error.problem
    except BoxEmpty as error:
        raise Unusable(BOX_EMPTY, where, error.problem) from None
    except UserError as error:
        raise Unusable(MALFORMED, where, error.problem) from None
    try:
        return annotated_box(values, format=format, size_wh=size_wh), [Trouble(CLIPPED, where, problem)]
    except BoxOutOfBounds:
        raise Unusable(BOX_OUTSIDE, where, problem) from None
    except UserError:  # entirely outside
        raise Unusable(BOX_EMPTY, where, problem) from None


@contextmanager
def errors_as_unusable(where: str) -> Iterator[None]:
    """Within the context, turn a coded error into Unusable."""
    try:
        yield
    except UserError as error:
        raise Unusable(MALFORMED, where, error.problem) from None


def clean_text(value: object, *, where: str, what: str = "text") -> str:
    """Return a text with single spaces only.  Error: Unusable if it is empty, not a text, or mentions a region."""
    if not isinstance(value, str):
        raise Unusable(NO_TEXT if value is None else MALFORMED, where, f"its {what} is {type(value).__name__}")
    if not (text := " ".join(value.split())):
        raise Unusable(NO_TEXT, where, f"its {what} is empty")
    if mentioned(text):
        raise Unusable(MALFORMED, where, f"its {what} contains <{mentioned(text)[0]}>, which is for questions only")
    if not _is_writable(text):
        raise Unusable(MALFORMED, where, f"its {what} contains a lone surrogate, which is not valid Unicode")
    return text


def file_name(value: object, *, where: str) -> str:
    """Return a file name unchanged.  Error: Unusable if it is not a valid text."""
    if not isinstance(value, str) or not value or not _is_writable(value):
        raise Unusable(MALFORMED, where, f"its file name is {escaped(value)}")
    return value


def parse_whole_number(value: object, *, where: str, what: str) -> int:
    """Return an integer, which may be given as text, as in files converted from XML.  Error: Unusable."""
    number = whole_number(value)
    if number is None:
        raise Unusable(MALFORMED, where, f"its {what} is {escaped(value)}")
    return number


def _is_writable(text: str) -> bool:
    """Whether the text can be encoded as UTF-8: JSON may contain lone surrogates."""
    return text.isascii() or text.encode("utf-8", errors="ignore").decode() == text


def required(data: object, key: str, kind: type[_T], *, where: str) -> _T:
    """Return a required field of a JSON object.  Error: RecordInvalid."""
    if not isinstance(data, Mapping) or not isinstance(data.get(key), kind):
        raise RecordInvalid(f"{where}: {key}: there is no {kind.__name__} of that name", do="check that this is the right file")
    found: _T = data[key]
    return found
