"""The results of a region model, and its decoding options."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region

MAX_NEW_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decoding options: greedy decoding at temperature 0, sampling above it.

    max_new_tokens: maximum length of the answer.  top_p: probability mass for nucleus sampling.
    seed: makes sampling repeatable.  stop: texts before which the answer ends.  timeout_s: deadline, in seconds.
    top_logprobs: return the answer's tokens with their log-probabilities, and this many likeliest alternatives for each.
    Error: InvalidSetting.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout_s: float | None = None
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= 4096:
            raise InvalidSetting(f"max_new_tokens is {self.max_new_tokens}", do="give 1 to 4096")
        if not 0 <= self.temperature <= 2:
            raise InvalidSetting(f"temperature is {self.temperature}", do="give 0 (greedy) to 2")
        if not 0 < self.top_p <= 1:
            raise InvalidSetting(f"top_p is {self.top_p}", do="give a number above 0, at most 1")
        if isinstance(self.stop, str) or len(self.stop) > 4 or not all(isinstance(each, str) and each for each in self.stop):
            raise InvalidSetting(f"stop is {self.stop!r}", do="give at most 4 texts that are not empty")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise InvalidSetting(f"timeout_s is {self.timeout_s}", do="give seconds above 0")
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= 20:
            raise InvalidSetting(f"top_logprobs is {self.top_logprobs}", do="give 0 to 20")

    def within(self, left_s: float | None) -> "Decoding":
        """Return the same options with a timeout of at most left_s; None sets no limit."""
        if left_s is None or (self.timeout_s is not None and self.timeout_s <= left_s):
            return self
        return replace(self, timeout_s=max(left_s, 1e-3))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written.  cached_tokens: those of the prompt whose keys and values were cached."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds in total, for the image, and until the answer's first token.

    image_cached: whether the image's features came from the cache.
    """

    total_s: float
    image_s: float
    image_cached: bool
    first_token_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A token of an answer.

    text: decoded alone.  logprob: before sampling options are applied.  likeliest: texts and log-probabilities of the likeliest
    tokens at its position, `Decoding.top_logprobs` of them.
    """

    text: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and its basis.

    confidence: geometric mean probability of the answer's tokens, in [0, 1], without those of a stop string.
    regions: every region of the question, with the pixel box that was used.
    notes: warnings for the reader: a box smaller than a feature cell, an image outside the model's domain, ...
    in_domain: whether the image is like those that the model was trained on; None if unknown.
    finish: "stop", or "length" if the answer was cut off at `max_new_tokens`.
    tokens: of the answer, if `Decoding.top_logprobs` is given.
    """

    text: str
    confidence: float
    regions: tuple[Region, ...]
    usage: Usage
    timing: Timing
    notes: tuple[str, ...] = ()
    finish: str = "stop"
    tokens: tuple[AnswerToken, ...] = ()
    in_domain: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return _plain(self)

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import notes, regions_table, soft, stacked, strong

        sure = soft(f"confidence {self.confidence:.2f}" + ("; cut at max_new_tokens" if self.finish == "length" else ""))
        return stacked(strong(self.text), sure, regions_table(self.regions) if self.regions else "", notes(self.notes))


class AnswerStream(ABC):
    """An answer as it is generated: iteration, with `for` or `async for`, yields its text in pieces, once.

    For example `for piece in model.stream(image, question, boxes): print(piece, end="")`.
    """

    @abstractmethod
    def __iter__(self) -> Iterator[str]:
        """Yield the pieces as they are generated.  Errors: those of the model."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[str]:
        """Yield the same for async code."""

    @abstractmethod
    def answer(self) -> Answer:
        """Wait for the whole answer.  Errors: those of the model."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop generating; `answer` then raises Cancelled."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest of several options.

    text, index: the chosen option.  scores: mean log-probability of each option's tokens (and of the special token that ends
        answers, if the model has one), in the given order.
    confidence: the chosen option's share of the scores, normalised over the options.
    in_domain: as in `Answer`.
    """

    text: str
    index: int
    confidence: float
    options: tuple[str, ...]
    scores: tuple[float, ...]
    regions: tuple[Region, ...]
    usage: Usage
    timing: Timing
    notes: tuple[str, ...] = ()
    in_domain: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return _plain(self)

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import notes, regions_table, soft, stacked, strong, table

        order = sorted(range(len(self.options)), key=lambda index: -self.scores[index])
        rows = [(self.options[index], f"{self.scores[index]:z.2f}") for index in order]
        return stacked(
            strong(self.text),
            soft(f"confidence {self.confidence:.2f}, of these options"),
            table(("option", "log-probability per token"), rows),
            regions_table(self.regions) if self.regions else "",
            notes(self.notes),
        )


def _plain(result: Answer | Choice) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in result.__dataclass_fields__}
    regions = [region.to_dict() for region in result.regions]
    tokens = {"tokens": [asdict(token) for token in result.tokens]} if isinstance(result, Answer) else {}
    notes = tuple(map(str, result.notes))
    return {
        **values,
        **tokens,
        "regions": regions,
        "notes": notes,
        "usage": asdict(result.usage),
        "timing": asdict(result.timing),
    }
