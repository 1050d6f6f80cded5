"""The running batch: prefills questions, decodes them token by token, and removes those that finish."""

import logging
from collections.abc import Callable, Sequence
from traceback import clear_frames
from typing import TypeVar

import torch
from torch import Tensor

from roi_agent.model.engine.cache import ImageCache
from roi_agent.model.engine.grouping import group_by_length, similar_lengths
from roi_agent.model.engine.kv_cache import order_by_prefix
from roi_agent.model.engine.part import Part, Question
from roi_agent.model.engine.request import Completion, RequestHandle
from roi_agent.model.engine.runner import Runner
from roi_agent.model.errors import EngineFailed, OutOfMemory, RoiAgentError
from roi_agent.model.utils.messages import escaped

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
Outcome = Completion | RoiAgentError


class Batch:
    """Running questions in parts of similar length, each part one pass of the model.

    A pass that fails is retried in halves, down to the question that causes the failure.
    max_questions: running at once.  finished: completions and errors, until the engine delivers them.
    deferred: questions that return to the queue, until others free their memory.
    capacity: questions at once, in all and in one part: fewer than max_questions after memory ran out, one more for each answer.
    """

    def __init__(self, runner: Runner, cache: ImageCache, max_questions: int) -> None:
        self._runner, self._cache, self._max = runner, cache, max_questions
        self._parts: list[Part] = []
        self.finished: list[tuple[RequestHandle, Outcome]] = []
        self.deferred: list[RequestHandle] = []
        self.capacity = max_questions
        self.steps = 0

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def questions(self) -> list[Question]:
        """All of them."""
        return [each for part in self._parts for each in part.questions]

    def drop(self) -> None:
        """Remove questions that were cancelled or whose deadline has passed."""
        kept = [
            (part, [each for each in part.questions if self.is_active(each.pending, "being answered")]) for part in self._parts
        ]
        self._parts = [left for part, going in kept for left in self._narrow(part, going)]
        if not self._parts:
            self.capacity = self._max

    def is_active(self, pending: RequestHandle, doing: str) -> bool:
        """Whether the question was neither cancelled nor timed out; otherwise it is finished with that error."""
        error = pending.ended(doing)
        if error is not None:
            self.finished.append((pending, error))
        return error is None

    def clear(self) -> None:
        """Remove all questions."""
        self._parts = []

    # ------------------------------------------------------------ new questions

    def prefill(self, new: Sequence[Question]) -> None:
        """Prefill new questions; the unfinished ones join the batch."""
        going = [each for each in new if self.is_active(each.pending, "being read")]
        prefix, heads = len(self._runner.prefix_ids), self._runner.heads
        for group in group_by_length([each.length for each in going], prefix=prefix, heads=heads):
            chosen = [going[index] for index in group]
            self._prefill([chosen[place] for place in order_by_prefix([each.image.prefix for each in chosen])])

    def _prefill(self, new: list[Question]) -> None:
        requests, images = [each.pending.request for each in new], [each.image for each in new]
        read = self.attempt(lambda: self._runner.prefill(requests, images), len(new), again=len(new) == 1)
        if isinstance(read, RoiAgentError):
            if len(new) == 1:
                self.refuse(new[0].pending, read, others=len(self))
                return
            self._prefill(new[: len(new) // 2])
            self._prefill(new[len(new) // 2 :])
            return
        rows, logits = read
        self._cache.shrink()  # the vectors of new regions made the images larger
        going = [row for row, each in zip(new, logits, strict=True) if self._start(row, each)]
        for part in self._narrow(Part(new, rows), going):
            self._add(part)

    def refuse(self, pending: RequestHandle, error: RoiAgentError, *, others: int) -> None:
        """Finish a failed question, or defer it until running questions (`others`) free the memory that it needs."""
        if isinstance(error, OutOfMemory) and others:
            self.deferred.append(pending)
            self.capacity = others
        else:
            self.finished.append((pending, error))
            self.capacity = self._max  # the question itself was too large

    def _start(self, row: Question, logits: Tensor) -> bool:
        """Sample the first token from logits (1, V), or score labels from (n, V); returns whether the question continues."""
        labels = row.pending.request.labels
        row.pending.first_s = row.pending.seconds()
        if labels is None:
            return self._sample([row], logits) != []
        score = self.attempt(lambda: _score(logits, labels), 1, again=True)
        if isinstance(score, RoiAgentError):
            self.finished.append((row.pending, score))
        else:
            self._end(row, score)
        return False

    def _add(self, new: Part) -> None:
        """Merge with a part of similar length if there is room."""
        for place, part in enumerate(self._parts):
            count = len(part) + len(new)
            if count > self.capacity or not similar_lengths([each.length for each in (*part.questions, *new.questions)]):
                continue
            joined = self.attempt(lambda part=part: part.join(new), count, again=True)  # type: ignore[misc]
            if isinstance(joined, Part):
                self._parts[place] = joined
                return
        self._parts.append(new)

    # ------------------------------------------------------------ steps

    def step(self) -> None:
        """Decode one token for every question."""
        if not self._parts:
            return
        self.steps += 1
        self._merge_parts()
        self._parts = [left for part in self._parts for left in self._advance(part)]

    def _merge_parts(self) -> None:
        """Merge parts that were split or have shrunk."""
        parts, self._parts = self._parts, []
        for part in parts:
            self._add(part)

    def _advance(self, part: Part) -> list[Part]:
        """Decode one token of a part, in halves if that fails; returns parts without the finished questions."""
        tokens = [each.next for each in part.questions]
        logits = self.attempt(lambda: self._runner.step(part.rows, tokens), len(part), again=len(part) == 1)
        if isinstance(logits, Tensor):
            part.rows.lengths += 1
            return self._narrow(part, self._sample(part.questions, logits))
        if len(part) == 1:
            self.finished.append((part.questions[0].pending, logits))
            self.capacity = self._max  # the question itself was too large
            return []
        middle = len(part) // 2
        return [*self._advance(part.cut(0, middle)), *self._advance(part.cut(middle, len(part)))]

    def _sample(self, rows: list[Question], logits: Tensor) -> list[Question]:
        """Sample the next token of each row from logits (B, V) and emit its text; returns the rows that continue."""
        best = self.attempt(lambda: _greedy(logits), len(rows), again=len(rows) == 1)
        if isinstance(best, RoiAgentError):
            if len(rows) == 1:
                self.finished.append((rows[0].pending, best))
                return []
            middle = len(rows) // 2
            return [*self._sample(rows[:middle], logits[:middle]), *self._sample(rows[middle:], logits[middle:])]
        return [row for row, (every, token, score) in zip(rows, best, strict=True) if self._append(row, every, token, score)]

    def _append(self, row: Question, every: Tensor, token: int, score: float) -> bool:
        """Append a token to an answer; returns whether the question continues."""
        piece = self.attempt(lambda: row.sampler.write(every, token, score), 1, again=True)
        if isinstance(piece, RoiAgentError):
            self.finished.append((row.pending, piece))
            return False
        if piece:
            row.pending.emit(piece)
        if row.sampler.finish:
            self._end(row)
            return False
        row.next = row.sampler.ids[-1]
        return True

    def _end(self, row: Question, score: float = 0.0) -> None:
        pending, sampler = row.pending, row.sampler
        written = Completion(
            text=sampler.text,
            tokens=tuple(sampler.tokens),
            read=len(pending.request.ids),
            cached=len(self._runner.prefix_ids) if pending.cached else 0,
            count=len(sampler.ids),
            finish=sampler.finish or "stop",
            total_s=pending.seconds(),
            image_s=pending.image_s,
            first_s=pending.first_s,
            notes=row.image.notes,
            score=score,
        )
        self.finished.append((pending, written))
        self.capacity = min(self._max, self.capacity + 1)  # memory may be free again

    def _narrow(self, part: Part, going: list[Question]) -> list[Part]:
        """Narrow a part to some of its questions, kept in order; returns several parts if memory is short."""
        if not going or len(going) == len(part):
            return [part] if going else []
        ids = {id(each) for each in going}
        indices = [index for index, each in enumerate(part.questions) if id(each) in ids]
        taken = self.attempt(lambda: part.take(indices), len(part), again=True)
        if isinstance(taken, Part):
            return [taken]
        starts = [index for index in indices if index - 1 not in indices]
        ends = [index + 1 for index in indices if index + 1 not in indices]
        return [part.cut(start, end) for start, end in zip(starts, ends, strict=True)]

    # ------------------------------------------------------------ failures

    def attempt(self, work: Callable[[], _T], count: int, *, again: bool = False) -> _T | RoiAgentError:
        """Run work on `count` questions; returns its result or its error.

        On out of memory, the image cache is cleared and the capacity lowered.  again: then retry once.
        """
        done = _run_guarded(work)
        if isinstance(done, OutOfMemory):
            self.capacity = max(1, min(self.capacity, count // 2))
            self._cache.clear()
            if self._runner.device.type == "cuda":
                torch.cuda.empty_cache()
            if again:
                return _run_guarded(work)
        return done


def _run_guarded(work: Callable[[], _T]) -> _T | RoiAgentError:
    """The result of the work, or its error, stripped of frames that hold tensors."""
    try:
        return work()
    except Exception as error:
        failure = as_coded_error(error)
        clear_frames(error.__traceback__)  # keeping the error, as a log does, must not keep the tensors
    return failure


def _greedy(logits: Tensor) -> list[tuple[Tensor, int, float]]:
    """For each row of logits (B, V): log-probabilities, the most likely token, and its log-probability."""
    scores = logits.float().log_softmax(-1)
    best = scores.max(-1)
    return list(zip(scores, best.indices.tolist(), best.values.tolist(), strict=True))


def _score(logits: Tensor, labels: Sequence[int]) -> float:
    """Mean log-probability of the labels at or above 0, given logits (n, V)."""
    learned = torch.tensor([label for label in labels if label >= 0], device=logits.device)
    return logits.float().log_softmax(-1).gather(1, learned[:, None]).mean().item()


def as_coded_error(error: Exception) -> RoiAgentError:
    """The error as a coded one, without its traceback, whose frames hold tensors."""
    if isinstance(error, RoiAgentError):
        return type(error)(error.problem, do=error.do)
    # The CPU allocator raises a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
        return OutOfMemory("the question does not fit in the memory of the device", do="ask about fewer regions, or free memory")
    _log.error("the model broke", exc_info=error)
    problem = f"the model broke: {type(error).__name__}: {escaped(str(error))}"
    return EngineFailed(problem, do="ask again; roi-agent doctor checks the model")
