"""The questions that are being answered together: read, moved on token by token, and let go where they end."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from roi_agent.model.engine.cache import ImageCache, KeptImage
from roi_agent.model.engine.request import Pending, Written
from roi_agent.model.engine.rows import Rows, side_by_side
from roi_agent.model.engine.runner import Runner
from roi_agent.model.engine.writer import Writer
from roi_agent.model.errors import EngineFailed, OutOfMemory, RoiAgentError
from roi_agent.model.shown import shown

_log = logging.getLogger(__name__)
Outcome = Written | RoiAgentError


@dataclass(eq=False, slots=True)
class Question:
    """A question that is being answered.  next: the token that goes in at the next step."""

    pending: Pending
    image: KeptImage
    writer: Writer
    next: int = 0


class Batch:
    """Questions and their rows of keys and values, in the same order; rows of one image stand side by side.

    A pass that fails is done again in halves, down to the single question whose fault it is.
    max_questions: at once.  over: what has ended; whoever empties it tells those who wait.
    fits: questions at once; fewer than max_questions while memory is short.
    """

    def __init__(self, runner: Runner, cache: ImageCache, max_questions: int) -> None:
        self._runner, self._cache, self._max = runner, cache, max_questions
        self.questions: list[Question] = []
        self.over: list[tuple[Pending, Outcome]] = []
        self.fits = max_questions
        self.steps = 0
        self._rows: Rows | None = None

    def __len__(self) -> int:
        return len(self.questions)

    def drop(self) -> None:
        """Let go of questions that were taken back or are too late."""
        self._keep([each for each in self.questions if self.goes_on(each.pending, "being answered")])
        if not self.questions:
            self.fits = self._max

    def goes_on(self, pending: Pending, doing: str) -> bool:
        """Whether it was neither taken back nor is too late; else it is over."""
        error = pending.ended(doing)
        if error is not None:
            self.over.append((pending, error))
        return error is None

    def clear(self) -> None:
        """Let go of everything."""
        self.questions, self._rows = [], None

    def read(self, new: list[Question]) -> None:
        """Put new questions through the model; those that go on join the others."""
        places = side_by_side([each.image.prefix for each in new])
        new = [new[place] for place in places if self.goes_on(new[place].pending, "read")]
        if not new:
            return
        try:
            rows, logits = self._runner.prefill([row.pending.request for row in new], [row.image for row in new])
        except Exception as error:
            if len(new) == 1:
                self.over.append((new[0].pending, coded(error)))
            else:
                self._make_do(error, len(new))
                self.read(new[: len(new) // 2])
                self.read(new[len(new) // 2 :])
            return
        self._cache.shrink()  # images have grown by the vectors of new regions
        going = [index for index, (row, each) in enumerate(zip(new, logits, strict=True)) if self._begun(row, each)]
        if not going:
            return
        joined = rows.take(going) if self._rows is None else self._rows.joined(rows.take(going))
        running = [*self.questions, *(new[index] for index in going)]
        order = side_by_side(joined.prefixes)
        moved = order != list(range(len(order)))
        self._rows = joined.take(order) if moved else joined
        self.questions = [running[index] for index in order]

    def _begun(self, row: Question, logits: Tensor) -> bool:
        """The first token of a question, of logits (1, V), or its score, of (n, V); whether it goes on."""
        labels = row.pending.request.labels
        row.pending.first_s = row.pending.seconds()
        if labels is None:
            return self._write([row], logits) != []
        self._end(row, _score(logits, labels))
        return False

    def step(self) -> None:
        """One token more for all."""
        if self._rows is None:
            return
        self.steps += 1
        self._rows, outcomes = self._halved(self._rows, [row.next for row in self.questions])
        for row, outcome in zip(self.questions, outcomes, strict=True):
            if isinstance(outcome, RoiAgentError):
                self.over.append((row.pending, outcome))
        # self._rows has lost them already.
        self.questions = [row for row, outcome in zip(self.questions, outcomes, strict=True) if isinstance(outcome, Tensor)]
        if self.questions:
            self._keep(self._write(self.questions, torch.stack([each for each in outcomes if isinstance(each, Tensor)])))

    def _halved(self, rows: Rows, tokens: list[int]) -> tuple[Rows | None, list[Tensor | RoiAgentError]]:
        """A step; where it fails, in halves down to the single row.  Gives the rows that go on; for each logits or an error."""
        try:
            logits = self._runner.step(rows, tokens)
        except Exception as error:
            if len(rows) == 1:
                return None, [coded(error)]
            self._make_do(error, len(rows))
            middle = len(rows) // 2
            first, some = self._halved(rows.take(range(middle)), tokens[:middle])
            second, others = self._halved(rows.take(range(middle, len(rows))), tokens[middle:])
            if first is None or second is None:
                return first or second, [*some, *others]
            return first.joined(second), [*some, *others]
        rows.lengths = rows.lengths + 1
        return rows, list(logits)

    def _make_do(self, error: Exception, count: int) -> None:
        """Where memory ran out for so many questions: forget images, and take fewer questions until these are answered."""
        if isinstance(coded(error), OutOfMemory):
            self.fits = max(1, count // 2)
            self._cache.clear()
            if self._runner.device.type == "cuda":
                torch.cuda.empty_cache()

    def _write(self, rows: list[Question], logits: Tensor) -> list[Question]:
        """Pick the next token of each row, of logits (B, V), and tell what it says; gives the rows that go on."""
        scores = logits.float().log_softmax(-1)
        best = scores.max(-1)
        going = []
        for row, every, score, token in zip(rows, scores, best.values.tolist(), best.indices.tolist(), strict=True):
            try:
                piece = row.writer.write(every, token, score)
            except Exception as error:
                self.over.append((row.pending, coded(error)))
                continue
            if piece:
                row.pending.tell(piece)
            if row.writer.finish:
                self._end(row)
                continue
            row.next = row.writer.ids[-1]
            going.append(row)
        return going

    def _end(self, row: Question, score: float = 0.0) -> None:
        pending, writer = row.pending, row.writer
        written = Written(
            text=writer.text,
            tokens=tuple(writer.tokens),
            read=len(pending.request.ids),
            cached=len(self._runner.prefix_ids) if pending.cached else 0,
            count=len(writer.ids),
            finish=writer.finish or "stop",
            total_s=pending.seconds(),
            image_s=pending.image_s,
            first_s=pending.first_s,
            notes=row.image.notes,
            score=score,
        )
        self.over.append((pending, written))

    def _keep(self, rows: list[Question]) -> None:
        """Go on with these of the running questions, which are in their order."""
        if len(rows) == len(self.questions):
            return
        kept = {id(row) for row in rows}
        wanted = [index for index, row in enumerate(self.questions) if id(row) in kept]
        self._rows = self._rows.take(wanted) if self._rows is not None and wanted else None
        self.questions = rows


def _score(logits: Tensor, labels: Sequence[int]) -> float:
    """Mean log-probability of the labels that are given, at logits (n, V)."""
    learned = torch.tensor([label for label in labels if label >= 0], device=logits.device)
    return logits.float().log_softmax(-1).gather(1, learned[:, None]).mean().item()


def coded(error: Exception) -> RoiAgentError:
    """The error under which it is told."""
    if isinstance(error, RoiAgentError):
        return error
    # The allocator of the CPU has no exception of its own.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        return OutOfMemory("the question does not fit in the memory of the device", do="ask about fewer regions, or free memory")
    _log.error("the model broke", exc_info=error)
    problem = f"the model broke: {type(error).__name__}: {shown(str(error))}"
    return EngineFailed(problem, do="ask again; roi-agent doctor checks the model")
