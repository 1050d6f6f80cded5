"""Visual Commonsense Reasoning (Zellers et al. 2019): answers and rationales."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from roi_agent.model.data.multiple_choice import parse_letter, shuffled_options, with_lettered_options
from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import (
    SHORT_ANSWER,
    Bench,
    Metric,
    accuracy,
    of_parts,
    random_baseline,
    turns_up_to,
    without_label,
)
from roi_agent.model.evaluate.sample import Prediction, Sample
from roi_agent.model.protocol.conversation import Turn

ANSWER, REASON = "Q->A", "QA->R"
CHOSEN, WRITTEN = "likelihood", "letter"


class Vcr(Bench):
    """Asks the first two turns of a record if both have options: a question, and the rationale of its answer.

    Q->A is the first turn.  QA->R asks for the rationale, given the right answer.  Q->AR counts records with both right.
    Each is scored by likelihood and by letter: the question lists the options after letters, in random order, and the model
    generates a letter.  An answer that is not a letter, alone or followed by the text of its option, counts as wrong.
    Chance is the expected accuracy of a random option.
    """

    name: ClassVar[str] = "vcr"
    needs: ClassVar[str] = "two turns with options: the question with its answers, and a second round with the rationales"
    chance: ClassVar[str] = "a random option; for Q->AR, a random answer and a random rationale"

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Yield four samples for each record."""
        for record in records:
            if len(record.turns) > 1 and record.turns[0].options and record.turns[1].options:
                for turn, form in enumerate((ANSWER, REASON)):
                    yield _choice_sample(record, turn, form)
                    yield _letter_sample(record, turn, form, seed)

    def metrics(self, predictions: Sequence[Prediction]) -> list[Metric]:
        """Return the three figures for both variants."""
        made = []
        for way, right in ((CHOSEN, _is_chosen), (WRITTEN, _is_right_letter)):
            answers, reasons = (of_parts(predictions, f"{form} {way}") for form in (ANSWER, REASON))
            good = [[right(each) for each in some] for some in (answers, reasons)]
            both = [a and b for a, b in zip(*good, strict=True)]
            drawn = [random_baseline([a]) * random_baseline([b]) for a, b in zip(answers, reasons, strict=True)]
            chances = {
                ANSWER: random_baseline(answers),
                REASON: random_baseline(reasons),
                "Q->AR": sum(drawn) / max(len(drawn), 1),
            }
            for form, some in zip(chances, (*good, both), strict=True):
                made.append(accuracy(f"{form} by {way}", answers, some, chance=chances[form]))
        return made

    def counts(self, predictions: Sequence[Prediction]) -> dict[str, int]:
        """Return the number of unreadable letters."""
        return {"letters that could not be read": sum(parse_answer(each) is None for each in predictions if each.sample.letters)}


def parse_answer(prediction: Prediction) -> int | None:
    """Return the index of the chosen option, or None if the answer cannot be read."""
    return parse_letter(prediction.output.text, prediction.sample.letters)


def _choice_sample(record: Record, turn: int, form: str) -> Sample:
    return Sample(
        record=record.id,
        turn=turn,
        part=f"{form} {CHOSEN}",
        image=record.image,
        turns=turns_up_to(record, turn),
        regions=tuple(map(without_label, record.regions)),
        truth=record.turns[turn].answer,
        options=record.turns[turn].options,
    )


def _letter_sample(record: Record, turn: int, form: str, seed: int) -> Sample:
    letters = shuffled_options(record, turn, seed)
    return Sample(
        record=record.id,
        turn=turn,
        part=f"{form} {WRITTEN}",
        image=record.image,
        turns=(*record.conversation()[:turn], Turn(with_lettered_options(record.turns[turn].question, letters))),
        regions=tuple(map(without_label, record.regions)),
        truth=record.turns[turn].answer,
        letters=letters,
        new_tokens=SHORT_ANSWER,
    )


def _is_chosen(prediction: Prediction) -> bool:
    return prediction.is_right_choice


def _is_right_letter(prediction: Prediction) -> bool:
    place = parse_answer(prediction)
    return place is not None and not prediction.output.error and prediction.sample.letters[place] == prediction.sample.truth
