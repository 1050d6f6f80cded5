"""Questions with shuffled boxes, a control: a model that ignores the boxes scores as well on them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.sample import SHUFFLED, Sample
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region


def shuffle_boxes(samples: Iterable[Sample], records: Sequence[Record], *, seed: int) -> Iterator[Sample]:
    """Yield the same questions with other boxes and no masks.

    Each region gets the box of another region of its record. If the record has only one, it gets a box of another record of the
    same image, else a random box of the same size. A box that fills the image is first halved in width and height.
    The result depends on the seed only, not on how samples are sharded.
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
    """Map each box of a record to another one."""
    rng = Random(f"{seed} {record.id}")
    own = list(dict.fromkeys(region.box for region in record.regions))
    others = own if len(own) > 1 else list(dict.fromkeys([*own, *of_image]))
    if len(others) < 2:
        return {box: _elsewhere(box, record.size_wh, rng) for box in own}
    rng.shuffle(others)
    return dict(zip(others, [*others[1:], others[0]], strict=True))


def _elsewhere(box: Box, size_wh: tuple[int, int], rng: Random) -> Box:
    """Draw eight boxes of the same size and return the one that overlaps the given box least."""
    (width, height), (box_w, box_h) = size_wh, (box.width, box.height)
    if box_w >= width and box_h >= height:
        box_w, box_h = box_w / 2, box_h / 2
    corners = [(rng.uniform(0, width - box_w), rng.uniform(0, height - box_h)) for _ in range(8)]
    drawn = [Box(x, y, min(x + box_w, width), min(y + box_h, height)) for x, y in corners]
    return min(drawn, key=lambda each: _overlap(each, box))


def _overlap(a: Box, b: Box) -> float:
    across, down = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    return max(across, 0) * max(down, 0)
