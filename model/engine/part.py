"""Running questions, and the parts of a batch that share a pass."""

from collections.abc import Sequence
from dataclasses import dataclass

from roi_agent.model.engine.cache import CachedImage
from roi_agent.model.engine.kv_cache import BatchedKVCache, order_by_prefix
from roi_agent.model.engine.request import RequestHandle
from roi_agent.model.engine.sampler import TokenSampler


@dataclass(eq=False, slots=True)
class Question:
    """A running question.  next: the input token of the next step."""

    pending: RequestHandle
    image: CachedImage
    sampler: TokenSampler
    next: int = 0

    @property
    def length(self) -> int:
        """Tokens so far after the prefix of its image."""
        return len(self.pending.request.ids) - self.image.prefix.length + len(self.sampler.ids)


@dataclass(eq=False, slots=True)
class Part:
    """Questions that share a pass, and their rows in the same order; rows of one image are adjacent."""

    questions: list[Question]
    rows: BatchedKVCache

    def __len__(self) -> int:
        return len(self.questions)

    def cut(self, start: int, end: int) -> "Part":
        """Adjacent questions, without a copy of their rows."""
        return Part(self.questions[start:end], self.rows.cut(start, end))

    def take(self, indices: Sequence[int]) -> "Part":
        """Some of the questions, in order."""
        return Part([self.questions[index] for index in indices], self.rows.take(indices))

    def join(self, other: "Part") -> "Part":
        """The questions of both."""
        questions, rows = [*self.questions, *other.questions], self.rows.join(other.rows)
        order = order_by_prefix(rows.prefixes)
        both = Part(questions, rows)
        return both if order == list(range(len(order))) else both.take(order)
