"""What a region model is: it answers questions about boxes of an image, in turns or at once, and chooses among options.

GPT4RoI in this process is one; whatever speaks this protocol can take its place.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from roi_agent.model.conversation import Turn
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.regions import Region, parse_regions

MAX_NEW_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is written: greedily at temperature 0, by sampling above it.

    max_new_tokens: length of the answer at most.  top_p: share of probability that sampling draws from.
    seed: makes sampling repeatable.  Raises InvalidSetting.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_new_tokens <= 4096:
            raise InvalidSetting(f"max_new_tokens is {self.max_new_tokens}", do="give 1 to 4096")
        if not 0 <= self.temperature <= 2:
            raise InvalidSetting(f"temperature is {self.temperature}", do="give 0 (greedy) to 2")
        if not 0 < self.top_p <= 1:
            raise InvalidSetting(f"top_p is {self.top_p}", do="give a number above 0, at most 1")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds in all and for the image; image_cached: the image's features were kept from an earlier question."""

    total_s: float
    image_s: float
    image_cached: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on.

    confidence: geometric mean probability of the answer's tokens, in [0, 1].
    regions: every region of the question with the pixel box that was used.
    notes: what the reader should know: a box smaller than a feature cell, an image outside the model's domain, ...
    """

    text: str
    confidence: float
    regions: tuple[Region, ...]
    usage: Usage
    timing: Timing
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return _plain(self)


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest of several options.

    text, index: the option chosen.  scores: mean log-probability of each option's tokens, in the order given.
    confidence: the chosen option's share when the scores are normalised over the options.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return _plain(self)


class RegionModel(ABC):
    """Answers questions about regions of an image.

    An image is anything that `load_image` reads; regions are anything that `parse_regions` reads, four bare numbers
    being pixel xyxy unless `format` and `unit` name something else. All raise the coded errors of `errors.py`.
    """

    @abstractmethod
    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """The answer to the last turn, given the earlier ones."""

    def reply_all(
        self, image: LoadedImage, questions: Sequence[tuple[Sequence[Turn], Sequence[Region]]], decoding: Decoding
    ) -> list[Answer]:
        """Answers to several conversations about one image; a model that can answers them as a batch."""
        return [self.reply(image, turns, regions, decoding) for turns, regions in questions]

    @abstractmethod
    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """The option with the highest length-normalised likelihood."""

    def ask(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> Answer:
        """Answer one question in which `<region1>`, `<region2>`, ... point at regions."""
        loaded = load_image(image)
        known = parse_regions(regions, size_wh=loaded.size_wh, format=format, unit=unit)
        return self.reply(loaded, [Turn(_asked(question))], known, _decoding(decoding))

    def ask_each(
        self, image: object, question: str, regions: object, *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> list[Answer]:
        """Answer one question about each of many regions, as a batch; `<region>` stands for the region.

        For example "What is <region>?".  Without it, each question is asked about the region given with it.
        """
        loaded = load_image(image)
        known = parse_regions(regions, size_wh=loaded.size_wh, format=format, unit=unit)
        asked = _asked(question)
        questions = [([Turn(asked.replace("<region>", f"<{region.name}>"))], [region]) for region in known]
        return self.reply_all(loaded, questions, _decoding(decoding))

    def chat(self, image: object, regions: object = (), *, format: str = "xyxy", unit: str = "pixel") -> "Chat":
        """A conversation about one image."""
        loaded = load_image(image)
        return Chat(self, loaded, parse_regions(regions, size_wh=loaded.size_wh, format=format, unit=unit))

    def choose(
        self,
        image: object,
        question: str,
        options: Sequence[str],
        regions: object = (),
        *,
        format: str = "xyxy",
        unit: str = "pixel",
    ) -> Choice:
        """Choose among options by how likely the model finds each as the answer."""
        loaded = load_image(image)
        known = parse_regions(regions, size_wh=loaded.size_wh, format=format, unit=unit)
        if isinstance(options, str) or len(options) < 2 or not all(isinstance(each, str) and each.strip() for each in options):
            raise InvalidSetting(f"the options are {options!r}", do="give at least two texts that are not empty")
        return self.choose_for(loaded, _asked(question), list(options), known)


class Chat:
    """A conversation: questions and answers about one image and its regions."""

    def __init__(self, model: RegionModel, image: LoadedImage, regions: tuple[Region, ...]) -> None:
        self.image, self.regions, self.turns = image, regions, list[Turn]()
        self._model = model

    def point(self, box: object, *, format: str = "xyxy", unit: str = "pixel") -> Region:
        """Add a region to the conversation, under the next free number."""
        number = 1 + max((int(region.name.removeprefix("region")) for region in self.regions), default=0)
        added = {"name": f"region{number}", "box": box}
        (region,) = parse_regions([added], size_wh=self.image.size_wh, format=format, unit=unit)
        self.regions = (*self.regions, region)
        return region

    def ask(self, question: str, **decoding: Any) -> Answer:
        """Answer a question in the light of the earlier ones. A question that fails leaves the conversation as it was."""
        asked = Turn(_asked(question))
        answer = self._model.reply(self.image, [*self.turns, asked], self.regions, _decoding(decoding))
        self.turns.append(Turn(asked.question, answer.text))
        return answer


def _asked(question: str) -> str:
    if not isinstance(question, str) or not question.strip():
        raise InvalidSetting("the question is empty", do="ask something, for example: What is <region1>?")
    return question


def _decoding(values: dict[str, Any]) -> Decoding:
    unknown = sorted(set(values) - set(Decoding.__dataclass_fields__))
    if unknown:
        raise InvalidSetting(f"unknown options {', '.join(unknown)}", do=f"use {', '.join(Decoding.__dataclass_fields__)}")
    return Decoding(**values)


def _plain(result: Answer | Choice) -> dict[str, Any]:
    values = {name: getattr(result, name) for name in result.__dataclass_fields__}
    regions = [region.to_dict() for region in result.regions]
    return {**values, "regions": regions, "usage": asdict(result.usage), "timing": asdict(result.timing)}
