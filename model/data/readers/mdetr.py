"""MDETR's JSON (Kamath et al. 2021): COCO's layout, in which every entry of `images` is one caption of an image.

An entry holds `file_name`, `width`, `height`, `id`, `caption`, and which image it is: `original_id` (referring expressions) or
`original_img_id` (Flickr30k).  Its annotations hold `bbox` (xywh, pixels) and `tokens_positive`, a list of [start, end) places
of the caption's letters.
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
    """One caption of an image, and what in it is annotated.  where: the file and the entry, for messages."""

    entry: Mapping[str, Any]
    annotations: tuple[Mapping[str, Any], ...]
    where: str


def find_mdetr(root: Path, *names: str) -> str | None:
    """Where the first of these files that is there lies below the root."""
    places = [f"{folder}{name}" for name in names for folder in ("", "mdetr_annotations/", "OpenSource/")]
    return next((place for place in places if (root / place).is_file()), None)


def read_mdetr(reader: Reader, place: str, key: str) -> dict[int | str, list[MdetrCaption]]:
    """The captions of a file by their image.  key: the field that names the image.  Errors: DataNotFound, RecordInvalid.

    What cannot be sorted in is noted in the reader's `troubles`.
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
