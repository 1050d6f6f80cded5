"""Captions of regions, as in Visual Genome and RefCOCOg: BLEU-4, METEOR, ROUGE-L and CIDEr."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import Bench, Metric, mentioned_regions
from roi_agent.model.evaluate.caption_scores import FIGURES, caption_statistics, check_installed
from roi_agent.model.evaluate.sample import Prediction, Sample
from roi_agent.model.protocol.conversation import Turn


class Captions(Bench):
    """Asks each turn of a record without earlier turns, about the regions that it mentions.

    The references are those of the turn, or else its answer.  Chance is the data set's most frequent caption.
    """

    name: ClassVar[str] = "captions"
    needs: ClassVar[str] = "turns that ask for a description of a region, such as those of Visual Genome or RefCOCOg"
    chance: ClassVar[str] = "the most frequent caption of the data set, for every region"

    def check(self) -> None:
        """Check that pycocoevalcap and Java are installed.  Error: MissingExtra."""
        check_installed()

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Yield a sample for each turn."""
        for record in records:
            for number, turn in enumerate(record.turns):
                yield Sample(
                    record=record.id,
                    turn=number,
                    part="caption",
                    image=record.image,
                    turns=(Turn(turn.question),),
                    regions=mentioned_regions(turn.question, record.regions),
                    truth=turn.answer,
                    references=turn.references or (turn.answer,),
                )

    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """Return the four figures over all captions."""
        common, _ = Counter(each.sample.truth for each in predictions).most_common(1)[0]
        captions = [each.output.text for each in predictions]
        references = [each.sample.references for each in predictions]
        # One call for captions and baseline, because the Java programs take seconds to start.
        found, baseline = caption_statistics([captions, [common] * len(captions)], references)
        images = [each.sample.image for each in predictions]
        made = [Metric(name, found[name], images, figure) for name, figure in FIGURES.items()]
        return [replace(each, chance=float(each.figure(baseline[each.name].sum(0)))) for each in made]
