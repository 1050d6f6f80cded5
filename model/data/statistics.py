"""Statistics of a data set, counted in one pass: only counts and the names of images and labels stay in memory."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from roi_agent.model.data.record import Record

SMALL, MEDIUM = 32**2, 96**2  # area limits in square pixels below which COCO calls an object small or medium
LABELS = 10  # most frequent labels to report


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, median and maximum of integers; all 0 without numbers."""

    least: int
    median: int
    most: int

    @classmethod
    def of(cls, counted: Counter[int]) -> "Spread":
        """From the count of each number.  With an even total, the median is the lower middle number."""
        if not counted:
            return cls(0, 0, 0)
        values, left = sorted(counted), (counted.total() - 1) // 2
        for value in values:
            left -= counted[value]
            if left < 0:
                break
        return cls(values[0], value, values[-1])


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of a data set.

    closed_turns: turns with options.  answer_words: words of an answer.  box_sides: square root of a box's area, in % of that of
    the image.  box_sizes: small, medium and large boxes by COCO's definition.  labels: the most frequent ones.
    """

    records: int
    images: int
    regions: int
    masks: int
    turns: int
    closed_turns: int
    answer_words: Spread
    regions_per_record: Spread
    turns_per_record: Spread
    box_sides: Spread
    box_sizes: dict[str, int]
    labels: dict[str, int]
    sources: dict[str, int]
    licences: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def count_records(values: Iterable[tuple[str, Any]]) -> Statistics:
    """Count the JSON forms of records, which `read_values` yields with file and line.

    A record is fully checked only if counting it fails, which is about twenty times as fast as checking all of them.
    Error: RecordInvalid, with file, line and field.
    """
    counts = _Counts()
    for where, value in values:
        try:
            counts.add(value)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            Record.from_dict(value, where=where)  # raises the error that describes the problem
            raise
    return counts.statistics()


class _Counts:
    """Running counts."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.words, self.regions, self.turns, self.sides = (Counter[int]() for _ in range(4))
        self.sizes, self.labels, self.sources, self.licences = (Counter[str]() for _ in range(4))
        self.masks = self.closed = 0

    def add(self, value: Any) -> None:
        self.images.add(value["image"])
        self.regions[len(value["regions"])] += 1
        self.turns[len(value["turns"])] += 1
        self.sources[value["source"]] += 1
        self.licences[value["licence"]] += 1
        whole = value["width"] * value["height"]
        for region in value["regions"]:
            x1, y1, x2, y2 = region["box"]
            area = (x2 - x1) * (y2 - y1)
            self.sides[round(100 * math.sqrt(area / whole))] += 1
            self.sizes["small" if area < SMALL else "medium" if area < MEDIUM else "large"] += 1
            self.masks += region.get("mask") is not None
            if label := region.get("label"):
                self.labels[label] += 1
        for turn in value["turns"]:
            self.words[len(turn["answer"].split())] += 1
            self.closed += bool(turn.get("options"))

    def statistics(self) -> Statistics:
        return Statistics(
            records=self.regions.total(),
            images=len(self.images),
            regions=self.sizes.total(),
            masks=self.masks,
            turns=self.words.total(),
            closed_turns=self.closed,
            answer_words=Spread.of(self.words),
            regions_per_record=Spread.of(self.regions),
            turns_per_record=Spread.of(self.turns),
            box_sides=Spread.of(self.sides),
            box_sizes={size: self.sizes[size] for size in ("small", "medium", "large")},
            labels=dict(self.labels.most_common(LABELS)),
            sources=dict(self.sources.most_common()),
            licences=dict(self.licences.most_common()),
        )
