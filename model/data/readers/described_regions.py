"""Regions that are described by a few words each, and the conversation that asks about each of them in turn."""

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

MOST = 15  # regions of one image, drawn at random, as in the paper

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Described:
    """A region, every right answer to what it is, and notes on what was put right.

    The region's name is given later.  Without a right answer, it is left out, and its notes say why.
    """

    region: Region
    texts: tuple[str, ...]
    notes: tuple[Trouble, ...] = ()


def coco_region(
    annotation: Mapping[str, Any], *, label: str | None, size_wh: tuple[int, int], where: str, source: str
) -> Described:
    """One entry of COCO's `annotations`: its box and, where it has a good one, its mask.  Error: Unusable.

    label: what it is described by, if that is known here.
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
    """What can be used of some entries, and what cannot, with all notes."""
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
    """One record that asks about up to MOST of the regions, one in each turn; none where there are no regions.

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
