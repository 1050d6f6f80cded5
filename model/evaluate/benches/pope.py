"""Object hallucination about regions, after POPE (Li et al. 2023): is this a cat? Yes or no."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from random import Random
from typing import ClassVar

import numpy as np

from roi_agent.model.data.english import with_article
from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import SHORT_ANSWER, Bench, Metric, of_parts, without_label
from roi_agent.model.evaluate.intervals import Numbers, ratio
from roi_agent.model.evaluate.sample import Prediction, Sample
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn
from roi_agent.prompts import load_blocks

OWN = "own"
WRONG = ("random", "frequent", "co-occurring")
_YES_NO = re.compile(r"(yes|no)\b", re.IGNORECASE)


class Pope(Bench):
    """Asks for each labelled region whether it is its own label, and whether it is each of three wrong labels.

    random: any other label of the data set.  frequent: drawn by frequency.  Neither is the label of a region in the image.
    co-occurring: drawn by the number of images shared with the region's own label; it may label another region of the image.
    Each kind is scored together with the region's own label, so half of the right answers are yes.
    An answer must begin with yes or no; any other counts as wrong.  "yes" is the positive class of precision and recall.
    Chance is always yes.
    """

    name: ClassVar[str] = "pope"
    needs: ClassVar[str] = "regions with at least two different labels, such as those of COCO"
    chance: ClassVar[str] = "always yes"

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Yield up to four samples for each region."""
        labels = _Labels(records)
        for record in records:
            for number, region in enumerate(record.regions):
                if not region.label or len(labels.counts) < 2:
                    continue
                yield _question(record, number, region, OWN, region.label)
                rng = Random(f"{seed} {record.id} {region.name}")
                for kind in WRONG:
                    if wrong := labels.wrong(kind, region.label, record.image, rng):
                        yield _question(record, number, region, kind, wrong)

    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """Return five figures for each kind of wrong label."""
        made = []
        for kind in WRONG:
            some = of_parts(predictions, OWN, kind)
            statistics = np.array([_confusion_counts(each) for each in some], dtype=np.float64).reshape(-1, 5)
            images = [each.sample.image for each in some]
            always_yes = np.array([[each.sample.truth == "yes", each.sample.truth == "no", 0, 0, 1] for each in some], np.float64)
            for name, figure in _FIGURES.items():
                chance = float(figure(always_yes.reshape(-1, 5).sum(0)))
                made.append(Metric(f"{kind}: {name}", statistics, images, figure, chance=chance))
        return made

    def counts(self, predictions: Sequence[Prediction]) -> dict[str, int]:
        """Return the number of unreadable answers."""
        return {"answers that are neither yes nor no": sum(parse_yes_no(each) is None for each in predictions)}


def parse_yes_no(prediction: Prediction) -> bool | None:
    """Return True for yes, False for no, None for any other answer."""
    match = _YES_NO.match(prediction.output.text.strip())
    return None if match is None or prediction.output.error else match[1].lower() == "yes"


class _Labels:
    """The labels of a data set: their frequency, their images and their co-occurrence."""

    def __init__(self, records: Sequence[Record]) -> None:
        found = [(record.image, region.label) for record in records for region in record.regions if region.label]
        self.counts = Counter(label for _, label in found)
        self.of_image: dict[str, set[str]] = {}
        for image, label in found:
            self.of_image.setdefault(image, set()).add(label)
        self.co_occurring: dict[str, Counter[str]] = {label: Counter() for label in self.counts}
        for labels in self.of_image.values():
            for one, other in permutations(sorted(labels), 2):
                self.co_occurring[one][other] += 1

    def wrong(self, kind: str, own: str, image: str, rng: Random) -> str | None:
        """Draw a label that the region does not have, or None if there is none of that kind."""
        if kind == "co-occurring":
            return _draw(self.co_occurring[own], rng)
        absent = {label: count for label, count in self.counts.items() if label not in self.of_image[image]}
        return _draw(absent if kind == "frequent" else dict.fromkeys(absent, 1), rng)


def _draw(weights: Mapping[str, int], rng: Random) -> str | None:
    names = sorted(weights)
    return rng.choices(names, [weights[name] for name in names])[0] if names else None


def _question(record: Record, number: int, region: Region, kind: str, label: str) -> Sample:
    text = load_blocks("evaluation")["presence"].format(region=f"<{region.name}>", thing=with_article(label))
    return Sample(
        record=record.id,
        turn=number,
        part=kind,
        image=record.image,
        turns=(Turn(text),),
        regions=(without_label(region),),
        truth="yes" if kind == OWN else "no",
        new_tokens=SHORT_ANSWER,
    )


def _confusion_counts(prediction: Prediction) -> tuple[bool, bool, bool, bool, bool]:
    """Return true positives, false positives, true negatives, false negatives, and 1 for the question."""
    answer, truth = parse_yes_no(prediction), prediction.sample.truth == "yes"
    yes, no = answer is True, answer is False
    return yes and truth, yes and not truth, no and not truth, truth and not yes, True


def _f1(sums: Numbers) -> Numbers:
    hit, false, missed = sums[..., 0], sums[..., 1], sums[..., 3]
    return ratio(2 * hit, 2 * hit + false + missed)


_FIGURES = {
    "accuracy": lambda sums: ratio(sums[..., 0] + sums[..., 2], sums[..., 4]),
    "precision": lambda sums: ratio(sums[..., 0], sums[..., 0] + sums[..., 1]),
    "recall": lambda sums: ratio(sums[..., 0], sums[..., 0] + sums[..., 3]),
    "F1": _f1,
    'share of "yes"': lambda sums: ratio(sums[..., 0] + sums[..., 1], sums[..., 4]),
}
