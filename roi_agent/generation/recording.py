"""Conversion of kept conversations to records, with regions renumbered, mostly from region1."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from roi_agent.generation.claims import Proposal
from roi_agent.model.data.record import Evidence, Record, RecordTurn
from roi_agent.model.geometry.regions import Region

_HIGH = 0.25  # fraction of conversations with high region numbers, as in long conversations
_LAST_NUMBER = 30

_NAME = re.compile(r"<(region[0-9]+)>")


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of records.  image: its file.  size_wh: of the image in pixels.  source, licence: of the records."""

    image: str
    size_wh: tuple[int, int]
    source: str
    licence: str


def to_record(
    written: Proposal, proof: Sequence[Evidence], regions: Mapping[str, Region], origin: Origin, number: int, rng: Random
) -> Record:
    """Convert a conversation to a record.  number: its index within the image.  rng: draws the numbers of its regions."""
    order = list(dict.fromkeys(written.regions))
    rng.shuffle(order)
    numbers: Sequence[int] = range(1, len(order) + 1)
    if rng.random() < _HIGH:
        numbers = sorted(rng.sample(range(1, _LAST_NUMBER + 1), len(order)))
    names = {old: f"region{new}" for old, new in zip(order, numbers, strict=True)}

    def renamed(text: str) -> str:
        return _NAME.sub(lambda match: f"<{names.get(match[1], match[1])}>", text)

    return Record(
        id=f"{origin.image}#{number}-{written.family}",
        image=origin.image,
        size_wh=origin.size_wh,
        regions=tuple(replace(regions[old], name=new, image=None, parent=None) for old, new in names.items()),
        turns=tuple(RecordTurn(renamed(each.question), renamed(each.answer)) for each in written.turns),
        source=origin.source,
        licence=origin.licence,
        evidence=tuple(replace(each, text=renamed(each.text)) for each in proof),
    )
