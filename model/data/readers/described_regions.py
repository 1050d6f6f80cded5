"""Regions with short descriptions, and records that ask about one region in each turn."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from roi_agent.model.data.readers.base import MASK_INVALID, Reader, Trouble, Unusable, fit_box
from roi_agent.model.data.readers.questions import draw_wording
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.errors import UserError
from roi_agent.model.geometry.annotations import annotated_mask
from roi_agent.model.geometry.regions import Region

MOST = 15  # maximum regions of one record, drawn at random, as in the paper

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Described:
    """A region, all right descriptions of it, and troubles.

    The region's name is assigned later.  A region without descriptions is skipped; its troubles give the reason.
    """

    region: Region
    texts: tuple[str, ...]
    notes: tuple[Trouble, ...] = ()


def coco_region(
    annotation: Mapping[str, Any], *, label: str | None, size_wh: tuple[int, int], where: str, source: str
) -> Described:
    """Read the box and the mask of an entry of COCO's `annotations`; an invalid mask is dropped.  Error: Unusable.

    label: its description, or None if the caller adds descriptions.
    """
    box, notes = fit_box(annotation.get("bbox"), format="xywh", size_wh=size_wh, where=where)
    mask = None
    try:
        if annotation.get("segmentation"):
            mask = annotated_mask(annotation["segmentation"], size_wh, box)
    except UserError as error:
        notes.append(Trouble(MASK_INVALID, where, error.problem))
    region = Region("region1", box, label=label, mask=mask, source=source)
    return Described(region, (label,) if label else (), tuple(notes))


def read_usable(entries: Iterable[_T], read: Callable[[_T], Described]) -> tuple[list[Described], list[Trouble]]:
    """Read entries; return the usable regions, and all troubles."""
    found: list[Described] = []
    troubles: list[Trouble] = []
    for entry in entries:
        try:
            described = read(entry)
        except Unusable as unusable:
            troubles.append(unusable.trouble)
        else:
            found += [described] if described.texts else []
            troubles += described.notes
    return found, troubles


def one_turn_per_region(
    reader: Reader,
    found: list[Described],
    rng: Random,
    *,
    block: str,
    id: str,
    image: str,
    size_wh: tuple[int, int],
) -> Iterator[Record]:
    """Yield a record that asks about up to MOST regions, one in each turn, or nothing without regions.

    block: of the wordings.  id: of the image in its data set.  image: its file.
    """
    regions, turns = [], []
    for number, described in enumerate(rng.sample(found, min(MOST, len(found))), start=1):
        region = replace(described.region, name=f"region{number}")
        texts = tuple(dict.fromkeys(described.texts))
        regions.append(region)
        several = texts if len(texts) > 1 else ()
        turns.append(RecordTurn(draw_wording(block, rng, a=region.name), rng.choice(texts), references=several))
    if regions:
        name = f"{reader.name}/{reader.split}/{id}"
        yield Record(name, image, size_wh, tuple(regions), tuple(turns), reader.source, reader.licence)
