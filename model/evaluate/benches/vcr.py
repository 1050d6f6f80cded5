"""Visual Commonsense Reasoning (Zellers et al. 2019): answers, and reasons for them."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from roi_agent.model.data.multiple_choice import drawn, letter_read, with_letters
from roi_agent.model.data.record import Record
from roi_agent.model.evaluate.benches.base import SHORT, Bench, Measure, accuracy, asked, bare, blind, of_part
from roi_agent.model.evaluate.sample import Answered, Sample
from roi_agent.model.protocol.conversation import Turn

ANSWER, REASON = "Q->A", "QA->R"
CHOSEN, WRITTEN = "likelihood", "letter"


class Vcr(Bench):
    """The first two turns of a record, where both have options: a question, and the reason for its answer.

    Q->A is the first.  QA->R asks for the reason given the right answer.  Q->AR counts a record where both are right.
    Each is done by likelihood, and by writing: the choices stand in the question after letters, in an order that is drawn, and a
    letter is to be written.  What is not a letter, alone or with the text of its own choice, is unreadable, and wrong.
    Chance is the expected accuracy of drawing one of the options.
    """

    name: ClassVar[str] = "vcr"
    needs: ClassVar[str] = "two turns with options: the question with its answers, and a second round with the rationales"
    chance: ClassVar[str] = "drawing one of the options; for Q->AR, one of the answers and one of the reasons"

    def ask(self, records: Sequence[Record], seed: int) -> Iterator[Sample]:
        """Four samples for each record."""
        for record in records:
            if len(record.turns) > 1 and record.turns[0].options and record.turns[1].options:
                for turn, form in enumerate((ANSWER, REASON)):
                    yield _chosen(record, turn, form)
                    yield _lettered(record, turn, form, seed)

    def measures(self, answered: Sequence[Answered]) -> list[Measure]:
        """The three figures, in both ways."""
        made = []
        for way, right in ((CHOSEN, _is_chosen), (WRITTEN, _is_written)):
            answers, reasons = (of_part(answered, f"{form} {way}") for form in (ANSWER, REASON))
            good = [[right(each) for each in some] for some in (answers, reasons)]
            both = [a and b for a, b in zip(*good, strict=True)]
            drawn = [blind([a]) * blind([b]) for a, b in zip(answers, reasons, strict=True)]
            chances = {ANSWER: blind(answers), REASON: blind(reasons), "Q->AR": sum(drawn) / max(len(drawn), 1)}
            for form, some in zip(chances, (*good, both), strict=True):
                made.append(accuracy(f"{form} by {way}", answers, some, chance=chances[form]))
        return made

    def counts(self, answered: Sequence[Answered]) -> dict[str, int]:
        """How many written answers could not be read."""
        return {"letters that could not be read": sum(letter(each) is None for each in answered if each.sample.letters)}


def letter(answered: Answered) -> int | None:
    """The place of the choice that was written, or None where that cannot be read."""
    return letter_read(answered.output.text, answered.sample.letters)


def _chosen(record: Record, turn: int, form: str) -> Sample:
    return Sample(
        record=record.id,
        turn=turn,
        part=f"{form} {CHOSEN}",
        image=record.image,
        turns=asked(record, turn),
        regions=tuple(map(bare, record.regions)),
        truth=record.turns[turn].answer,
        options=record.turns[turn].options,
    )


def _lettered(record: Record, turn: int, form: str, seed: int) -> Sample:
    letters = drawn(record, turn, seed)
    return Sample(
        record=record.id,
        turn=turn,
        part=f"{form} {WRITTEN}",
        image=record.image,
        turns=(*record.conversation()[:turn], Turn(with_letters(record.turns[turn].question, letters))),
        regions=tuple(map(bare, record.regions)),
        truth=record.turns[turn].answer,
        letters=letters,
        new_tokens=SHORT,
    )


def _is_chosen(answered: Answered) -> bool:
    return answered.chosen_right


def _is_written(answered: Answered) -> bool:
    place = letter(answered)
    return place is not None and not answered.output.trouble and answered.sample.letters[place] == answered.sample.truth
