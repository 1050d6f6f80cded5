"""Questions with the boxes in the wrong places: what a model answers that does not look where it is pointed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.sample import SHUFFLED, Sample
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region


def shuffle_boxes(samples: Iterable[Sample], records: Sequence[Record], *, seed: int) -> Iterator[Sample]:
    """The same questions about regions that lie elsewhere.

    Each region gets the box of another region of its record, or where the record has one only, of another record of the same
    image, or where there is none, a random box of the same size elsewhere.  Masks are left away.  A box that fills its image
    has no elsewhere: it shrinks to half its sides.  The same for the same seed, however the samples are shared out.
    """
    of_image: dict[str, list[Box]] = {}
    by_id = {record.id: record for record in records}
    for record in records:
        of_image.setdefault(record.image, []).extend(region.box for region in record.regions)
    moves = {record.id: _moves(record, of_image[record.image], seed) for record in by_id.values()}
    for sample in samples:
        elsewhere = moves[sample.record]
        regions = tuple(Region(region.name, elsewhere[region.box]) for region in sample.regions)
        yield replace(sample, regions=regions, boxes=SHUFFLED)


def _moves(record: Record, of_image: Sequence[Box], seed: int) -> dict[Box, Box]:
    """For each box of a record, another one."""
    rng = Random(f"{seed} {record.id}")
    own = list(dict.fromkeys(region.box for region in record.regions))
    others = own if len(own) > 1 else list(dict.fromkeys([*own, *of_image]))
    if len(others) < 2:
        return {box: _elsewhere(box, record.size_wh, rng) for box in own}
    rng.shuffle(others)
    return dict(zip(others, [*others[1:], others[0]], strict=True))


def _elsewhere(box: Box, size_wh: tuple[int, int], rng: Random) -> Box:
    """A box of the same size, of eight drawn the one that overlaps the old one least."""
    (width, height), (box_w, box_h) = size_wh, (box.width, box.height)
    if box_w >= width and box_h >= height:
        box_w, box_h = box_w / 2, box_h / 2
    corners = [(rng.uniform(0, width - box_w), rng.uniform(0, height - box_h)) for _ in range(8)]
    drawn = [Box(x, y, min(x + box_w, width), min(y + box_h, height)) for x, y in corners]
    return min(drawn, key=lambda each: _overlap(each, box))


def _overlap(a: Box, b: Box) -> float:
    across, down = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return max(across, 0) * max(down, 0)
