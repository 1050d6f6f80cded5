"""Classes of boxes, as in COCO: what is in this box?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import (
    SHORT,
    Bench,
    Measure,
    about,
    accuracy,
    chosen,
    most_frequent,
    of_part,
    plain,
    same,
)
from roi_agent.model.evaluate.intervals import Numbers, ratio
from roi_agent.model.evaluate.sample import Answered, Sample
from roi_agent.model.protocol.conversation import Turn

WRITTEN, CHOSEN = "written", "chosen"


class Boxes(Bench):
    """Every turn that asks about one region is asked by itself, twice: for a written answer, and for the likeliest class.

    The classes are the answers of all such turns.  A written answer is right where it is the class, but for its article and
    capitals.  Chance is the most frequent class; of the mean over classes, which counts each class alike, one over their number.
    """

    name: ClassVar[str] = "boxes"
    needs: ClassVar[str] = "turns that ask for the class of one region, such as those of COCO, of two classes at least"
    chance: ClassVar[str] = "always the most frequent class; for the mean over classes, one over their number"

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Two samples for each region."""
        written = [sample for record in records for sample in _written(record)]
        classes = sorted({sample.truth for sample in written})
        for sample in written if len(classes) > 1 else []:
            yield sample
            yield chosen(sample, classes, CHOSEN)

    def measures(self, answered: Sequence[Answered]) -> list[Measure]:
        """Accuracy over regions and over classes, in both ways, and the accuracy of each class."""
        made, details = list[Measure](), list[Measure]()
        for part, words in ((WRITTEN, "exact match"), (CHOSEN, "likeliest class")):
            some = of_part(answered, part)
            right = [same(each) if part == WRITTEN else each.chosen_right for each in some]
            made.append(accuracy(words, some, right, chance=most_frequent(some)))
            made.append(_over_classes(f"{words}, mean over classes", some, right))
            details += _each_class(words, some, right)
        return made + details

    def counts(self, answered: Sequence[Answered]) -> dict[str, int]:
        """How many written answers are no class at all."""
        written = of_part(answered, WRITTEN)
        classes = {plain(each.sample.truth) for each in written}
        outside = sum(plain(each.output.text) not in classes for each in written)
        return {"classes": len(classes), "written answers that are no class": outside}


def _written(record: Record) -> Iterator[Sample]:
    for number, turn in enumerate(record.turns):
        regions = about(turn.question, record.regions)
        if len(regions) == 1:
            yield Sample(
                record=record.id,
                turn=number,
                part=WRITTEN,
                image=record.image,
                turns=(Turn(turn.question),),
                regions=regions,
                truth=turn.answer,
                new_tokens=SHORT,
            )


def _over_classes(name: str, answered: Sequence[Answered], right: Sequence[bool]) -> Measure:
    classes = sorted({each.sample.truth for each in answered})
    statistics = np.zeros((len(answered), 2 * len(classes)))
    for row, (each, good) in enumerate(zip(answered, right, strict=True)):
        place = classes.index(each.sample.truth)
        statistics[row, place], statistics[row, len(classes) + place] = good, 1
    return Measure(name, statistics, [each.sample.image for each in answered], _mean_share, chance=1 / len(classes))


def _mean_share(sums: Numbers) -> Numbers:
    """The mean of right / asked over the classes that were asked.  sums: right of each class, then asked: (..., 2 C)."""
    count = sums.shape[-1] // 2
    right, of_class = sums[..., :count], sums[..., count:]
    return ratio(ratio(right, of_class).sum(-1), (of_class > 0).sum(-1).astype(np.float64))


def _each_class(words: str, answered: Sequence[Answered], right: Sequence[bool]) -> Iterator[Measure]:
    for name, _ in sorted(Counter(each.sample.truth for each in answered).items()):
        rows = [(each, good) for each, good in zip(answered, right, strict=True) if each.sample.truth == name]
        statistics = np.array([[float(good), 1.0] for _, good in rows])
        yield Measure(f"{words}: {name}", statistics, [each.sample.image for each, _ in rows], detail=True)
