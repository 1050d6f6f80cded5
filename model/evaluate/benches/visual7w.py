"""Visual7W (Zhu et al. 2016): questions with four options, texts (telling) or boxes (pointing)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import Bench, Metric, accuracy, of_parts, random_baseline, turns_up_to, without_label
from roi_agent.model.evaluate.sample import Prediction, Sample
from roi_agent.model.protocol.conversation import mentioned

TELLING, POINTING = "telling", "pointing"


class Visual7W(Bench):
    """Asks the last turn of a record if it has options; the likeliest one is the answer.  Earlier turns have their right answers.

    If all options are regions, the question is pointing, else telling.  Chance is a random option.
    """

    name: ClassVar[str] = "visual7w"
    needs: ClassVar[str] = "a last turn with options"
    chance: ClassVar[str] = "a random option"

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Yield one sample for each record."""
        for record in records:
            last = len(record.turns) - 1
            turn = record.turns[last]
            if turn.options:
                yield Sample(
                    record=record.id,
                    turn=last,
                    part=POINTING if _are_regions(record, turn.options) else TELLING,
                    image=record.image,
                    turns=turns_up_to(record, last),
                    regions=tuple(map(without_label, record.regions)),
                    truth=turn.answer,
                    options=turn.options,
                )

    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """Return the accuracy of each kind in the data, and of all questions if both kinds occur."""
        rows = {kind: of_parts(predictions, kind) for kind in (TELLING, POINTING)}
        if all(rows.values()):
            rows["all"] = list(predictions)
        return [
            accuracy(name, row, [each.is_right_choice for each in row], chance=random_baseline(row))
            for name, row in rows.items()
            if row
        ]


def _are_regions(record: Record, options: Sequence[str]) -> bool:
    names = {region.name for region in record.regions}
    return all(option in names or mentioned(option) == (option.strip("<>"),) for option in options)
