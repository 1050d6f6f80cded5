"""Classification of boxes, as in COCO."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import (
    SHORT_ANSWER,
    Bench,
    Metric,
    accuracy,
    as_choice,
    is_exact_match,
    majority_baseline,
    mentioned_regions,
    normalised,
    of_parts,
)
from roi_agent.model.evaluate.intervals import Numbers, ratio
from roi_agent.model.evaluate.sample import Prediction, Sample
from roi_agent.model.protocol.conversation import Turn

WRITTEN, CHOSEN = "written", "chosen"


class Boxes(Bench):
    """Asks each turn about a single region twice, without earlier turns: for a generated answer, and for the likeliest class.

    The classes are the answers of all these turns.  A generated answer is right if it equals the class, ignoring case and
    articles.  Chance is the most frequent class; for the mean over classes, one over the number of classes.
    """

    name: ClassVar[str] = "boxes"
    needs: ClassVar[str] = "turns that ask for the class of one region, with at least two classes, such as those of COCO"
    chance: ClassVar[str] = "always the most frequent class; for the mean over classes, one over the number of classes"

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Yield two samples for each region."""
        written = [sample for record in records for sample in _samples(record)]
        classes = sorted({sample.truth for sample in written})
        for sample in written if len(classes) > 1 else []:
            yield sample
            yield as_choice(sample, classes, CHOSEN)

    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """Return the accuracy over regions, over classes and of each class, for both variants."""
        made, details = list[Metric](), list[Metric]()
        for part, words in ((WRITTEN, "exact match"), (CHOSEN, "likeliest class")):
            some = of_parts(predictions, part)
            right = [is_exact_match(each) if part == WRITTEN else each.is_right_choice for each in some]
            made.append(accuracy(words, some, right, chance=majority_baseline(some)))
            made.append(_class_mean(f"{words}, mean over classes", some, right))
            details += _per_class(words, some, right)
        return made + details

    def counts(self, predictions: Sequence[Prediction]) -> dict[str, int]:
        """Return the number of classes, and of generated answers that are none of them."""
        written = of_parts(predictions, WRITTEN)
        classes = {normalised(each.sample.truth) for each in written}
        outside = sum(normalised(each.output.text) not in classes for each in written)
        return {"classes": len(classes), "written answers that are no class": outside}


def _samples(record: Record) -> Iterator[Sample]:
    for number, turn in enumerate(record.turns):
        regions = mentioned_regions(turn.question, record.regions)
        if len(regions) == 1:
            yield Sample(
                record=record.id,
                turn=number,
                part=WRITTEN,
                image=record.image,
                turns=(Turn(turn.question),),
                regions=regions,
                truth=turn.answer,
                new_tokens=SHORT_ANSWER,
            )


def _class_mean(name: str, predictions: Sequence[Prediction], right: Sequence[bool]) -> Metric:
    classes = sorted({each.sample.truth for each in predictions})
    statistics = np.zeros((len(predictions), 2 * len(classes)))
    for row, (each, correct) in enumerate(zip(predictions, right, strict=True)):
        place = classes.index(each.sample.truth)
        statistics[row, place], statistics[row, len(classes) + place] = correct, 1
    return Metric(name, statistics, [each.sample.image for each in predictions], _mean_class_accuracy, chance=1 / len(classes))


def _mean_class_accuracy(sums: Numbers) -> Numbers:
    """Return the mean accuracy of the classes that occur.  sums: (..., 2 C), right answers by class, then questions by class."""
    count = sums.shape[-1] // 2
    right, of_class = sums[..., :count], sums[..., count:]
    return ratio(ratio(right, of_class).sum(-1), (of_class > 0).sum(-1).astype(np.float64))


def _per_class(words: str, predictions: Sequence[Prediction], right: Sequence[bool]) -> Iterator[Metric]:
    for name, _ in sorted(Counter(each.sample.truth for each in predictions).items()):
        rows = [(each, correct) for each, correct in zip(predictions, right, strict=True) if each.sample.truth == name]
        statistics = np.array([[float(correct), 1.0] for _, correct in rows])
        yield Metric(f"{words}: {name}", statistics, [each.sample.image for each, _ in rows], detail=True)
