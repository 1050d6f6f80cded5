"""MDETR's JSON (Kamath et al. 2021): COCO's layout, but every entry of `images` is one caption of an image.

An entry contains `file_name`, `width`, `height`, `id`, `caption` and the id of its image: `original_id` (referring expressions)
or `original_img_id` (Flickr30k).  Its annotations contain `bbox` (xywh, pixels) and `tokens_positive`, a list of character spans
[start, end) of the caption.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roi_agent.model.data.readers.base import MALFORMED, MISSING_IMAGE, Reader, Trouble, required
from roi_agent.model.geometry.annotations import as_id
from roi_agent.model.utils.messages import escaped


@dataclass(frozen=True, slots=True)
class MdetrCaption:
    """One caption of an image, and its annotations.  where: the file and the entry, for messages."""

    entry: Mapping[str, Any]
    annotations: tuple[Mapping[str, Any], ...]
    where: str


def find_mdetr(root: Path, *names: str) -> str | None:
    """Return the path below the root of the first of these files that exists, or None."""
    places = [f"{folder}{name}" for name in names for folder in ("", "mdetr_annotations/", "OpenSource/")]
    return next((place for place in places if (root / place).is_file()), None)


def read_mdetr(reader: Reader, place: str, key: str) -> dict[int | str, list[MdetrCaption]]:
    """Return the captions of a file by image.  key: the field with the image id.  Errors: DataNotFound, RecordInvalid.

    Captions and annotations without an image go to the reader's `troubles`.
    """
    data = reader.load_json(place)
    name = reader.files[-1].name
    entries = reader.by_id(required(data, "images", list, where=name), "id", where=f"{name}, images")
    annotations = reader.by_field(required(data, "annotations", list, where=name), "image_id", where=f"{name}, annotations")
    for image in [image for image in annotations if image not in entries]:
        for annotation in annotations[image]:
            where = f"{name}, annotation {escaped(annotation.get('id'))}"
            reader.troubles.append(Trouble(MISSING_IMAGE, where, f"its image {escaped(image)} is not in the file's list"))
    found: dict[int | str, list[MdetrCaption]] = {}
    for id, entry in entries.items():
        where, of = f"{name}, image {id}", as_id(entry.get(key, entry.get("file_name")))
        if of is not None:
            found.setdefault(of, []).append(MdetrCaption(entry, tuple(annotations.get(id, ())), where))
        else:
            reader.troubles.append(Trouble(MALFORMED, where, f"it has no {key}"))
    return found
