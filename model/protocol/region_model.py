"""What a region model is: it answers questions about boxes of an image, in turns or at once, and chooses among options.

GPT4RoI in this process is one; whatever speaks this protocol can take its place.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, TypeVar

from roi_agent.model.errors import InvalidSetting, ModelNotFound, ModelOutputInvalid
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.answers import Answer, AnswerStream, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.mentions import read_turns, with_mentions
from roi_agent.model.utils.cancellation import NEVER, Cancellation, in_thread, passed_on
from roi_agent.model.utils.messages import shown
from roi_agent.model.utils.texts import check_text

_Given = TypeVar("_Given", Answer, Choice)
# What the fields of an answer must be, so that every door can show them.
_KINDS: dict[str, Any] = {
    "text": str,
    "confidence": Real | None,
    "regions": tuple | list,
    "usage": Usage,
    "timing": Timing,
    "notes": tuple | list,
}
Question = tuple[Sequence[Turn], Sequence[Region]]  # a conversation whose last turn is open, and its regions
Closed = tuple[Sequence[Turn], Sequence[Region], Sequence[str]]  # the same, and the options for its last turn


class RegionModel(ABC):
    """Answers questions about regions of an image.

    An image is anything that `load_image` reads; regions are anything that `parse_regions` reads, four bare numbers being pixel
    xyxy unless `format` and `unit` name something else; `decoding` are the fields of `Decoding`. All raise the coded errors of
    `errors.py`. `aask`, `aask_each` and `achoose` are the same for async code. A question is read by the rule of `mentions.py`;
    one that names no region is about the whole image, which its answer then has as a region and says in a note.
    """

    # ------------------------------------------------------------ for whoever asks

    def ask(
        self,
        image: object,
        question: str,
        regions: object = (),
        *,
        format: str = "xyxy",
        unit: str = "pixel",
        cancellation: Cancellation = NEVER,
        **decoding: Any,
    ) -> Answer:
        """Answer one question in which `<region1>`, `<region2>`, ... point at regions.

        cancellation: takes the question back, where the model can; its deadline is that of the answer.
        """
        loaded, known = _given(image, regions, format, unit)
        turns, about, notes = _read([Turn(question)], known, loaded)
        return noted(self._replied(loaded, [(turns, about)], _decoding(decoding), cancellation)[0], loaded, notes)

    async def aask(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> Answer:
        """As `ask`; a task that is cancelled takes the question back."""
        loaded, known = await asyncio.to_thread(_given, image, regions, format, unit)
        turns, about, notes = _read([Turn(question)], known, loaded)
        return noted((await self.areply_all(loaded, [(turns, about)], _decoding(decoding)))[0], loaded, notes)

    def stream(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> AnswerStream:
        """As `ask`, with the text in pieces as it is written."""
        loaded, known = _given(image, regions, format, unit)
        turns, about, notes = _read([Turn(question)], known, loaded)
        stream = self.reply_stream(loaded, turns, about, _decoding(decoding))
        return _NotedStream(stream, loaded, notes)

    def ask_each(
        self,
        image: object,
        question: str,
        regions: object,
        *,
        format: str = "xyxy",
        unit: str = "pixel",
        cancellation: Cancellation = NEVER,
        **decoding: Any,
    ) -> list[Answer]:
        """Answer one question about each of many regions, as a batch; `<region>` stands for the region.

        For example "What is <region>?".  Without it, each question is asked about the region given with it.
        cancellation: as in `ask`.
        """
        loaded, known = _given(image, regions, format, unit)
        answers = self._replied(loaded, _about_each(question, known), _decoding(decoding), cancellation)
        return [noted(each, loaded) for each in answers]

    async def aask_each(
        self, image: object, question: str, regions: object, *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> list[Answer]:
        """As `ask_each`."""
        loaded, known = await asyncio.to_thread(_given, image, regions, format, unit)
        answers = await self.areply_all(loaded, _about_each(question, known), _decoding(decoding))
        return [noted(each, loaded) for each in answers]

    def chat(self, image: object, regions: object = (), *, format: str = "xyxy", unit: str = "pixel") -> "Chat":
        """A conversation about one image."""
        return Chat(self, *_given(image, regions, format, unit))

    def choose(
        self,
        image: object,
        question: str,
        options: Sequence[str],
        regions: object = (),
        *,
        format: str = "xyxy",
        unit: str = "pixel",
        cancellation: Cancellation = NEVER,
    ) -> Choice:
        """Choose among options by how likely the model finds each as the answer.  cancellation: as in `ask`."""
        loaded, known = _given(image, regions, format, unit)
        turns, about, notes = _read([Turn(question)], known, loaded)
        closed = [(turns, about, _options(options))]
        return noted(self.choose_all(loaded, closed, **passed_on(self.choose_all, cancellation))[0], loaded, notes)

    async def achoose(
        self,
        image: object,
        question: str,
        options: Sequence[str],
        regions: object = (),
        *,
        format: str = "xyxy",
        unit: str = "pixel",
    ) -> Choice:
        """As `choose`."""
        return await asyncio.to_thread(self.choose, image, question, options, regions, format=format, unit=unit)

    # ------------------------------------------------------------ for whoever writes a region model

    @abstractmethod
    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """The answer to the last turn, given the earlier ones."""

    @abstractmethod
    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """The option with the highest length-normalised likelihood."""

    def choose_all(self, image: LoadedImage, questions: Sequence[Closed], *, cancellation: Cancellation = NEVER) -> list[Choice]:
        """Choices at the last turn of several conversations about one image, as `choose_for` makes them.

        A model that can runs them as a batch, and reads earlier turns; this one refuses those.  cancellation: as in `reply_all`.
        Error: InvalidSetting.
        """
        if any(len(turns) > 1 for turns, _, _ in questions):
            raise InvalidSetting("a choice has earlier turns, which this model cannot read", do="choose at the first turn")
        choices = []
        for turns, regions, options in questions:
            cancellation.check("choosing")
            choices.append(self.choose_for(image, turns[0].question, options, regions))
        return choices

    def reply_all(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, *, cancellation: Cancellation = NEVER
    ) -> list[Answer]:
        """Answers to several conversations about one image; a model that can answers them as a batch.

        cancellation: ends the work after an answer; a model that can stops writing at once.  One of the user's own need not take
        it.
        """
        answers = []
        for turns, regions in questions:
            cancellation.check("answering")
            answers.append(self.reply(image, turns, regions, decoding.within(cancellation.left_s)))
        return answers

    async def areply_all(self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """As `reply_all`; where the task is cancelled or its time is over, it ends after the answer that is being written.

        A model that can stops writing at once.
        """
        stop = Cancellation(decoding.timeout_s)

        return await in_thread(lambda: self._replied(image, questions, decoding, stop), stop, "answering")

    async def achoose_all(
        self, image: LoadedImage, questions: Sequence[Closed], *, timeout_s: float | None = None
    ) -> list[Choice]:
        """As `choose_all`; it ends as `areply_all` does.  timeout_s: seconds until all choices must be there."""
        stop = Cancellation(timeout_s)
        stopping = passed_on(self.choose_all, stop)
        return await in_thread(lambda: self.choose_all(image, questions, **stopping), stop, "choosing")

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`; a model that can gives the text in more than one piece."""
        return _WholeAnswer(_checked(self.reply(image, turns, regions, decoding)))

    def _replied(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, cancellation: Cancellation
    ) -> list[Answer]:
        """As `reply_all`; a model that takes no cancellation is told its deadline."""
        cancellation.check("answering")
        stopping = passed_on(self.reply_all, cancellation)
        timed = decoding if stopping else decoding.within(cancellation.left_s)
        return self.reply_all(image, questions, timed, **stopping)


class NoRegionModel(RegionModel):
    """Stands where there is none: every question is refused.  Error: ModelNotFound."""

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """Refused."""
        raise ModelNotFound("there is no region model", do="give one to ask questions; finding and measuring need none")

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """Refused."""
        raise ModelNotFound("there is no region model", do="give one to ask questions; finding and measuring need none")


def noted(answer: _Given, image: LoadedImage, notes: Sequence[str] = ()) -> _Given:
    """An answer or a choice with the notes of its image, each once: models need not repeat them.

    notes: more of them.  Error: ModelOutputInvalid for what is no answer.
    """
    return replace(answer, notes=tuple(dict.fromkeys((*image.notes, *_checked(answer).notes, *notes))))


class Chat:
    """A conversation: questions and answers about one image and its regions."""

    def __init__(self, model: RegionModel, image: LoadedImage, regions: tuple[Region, ...]) -> None:
        self.image, self.regions, self.turns = image, regions, list[Turn]()
        self._model = model

    def point(self, place: object, *, format: str = "xyxy", unit: str = "pixel") -> Region:
        """Add a region to the conversation, under the next free number.

        place: one item as `parse_regions` takes it: four numbers, a Box, a Mask, or a Region such as `point_at` finds.
        Errors: those of `parse_regions`.
        """
        number = 1 + max((int(region.name.removeprefix("region")) for region in self.regions), default=0)
        (parsed,) = parse_regions([place], size_wh=self.image.size_wh, format=format, unit=unit)
        region = replace(parsed, name=f"region{number}")
        self.regions = (*self.regions, region)
        return region

    def ask(self, question: str, **decoding: Any) -> Answer:
        """Answer a question in the light of the earlier ones. A question that fails leaves the conversation as it was."""
        turns, about, notes = _read([*self.turns, Turn(question)], self.regions, self.image)
        answer = noted(self._model.reply(self.image, turns, about, _decoding(decoding)), self.image, notes)
        self.turns.append(Turn(turns[-1].question, answer.text))
        return answer

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.display import picture, regions_table, stacked, table

        said = [(turn.question, turn.answer) for turn in self.turns]
        return stacked(
            picture(self.image.pixels, self.image.source),
            regions_table(self.regions, self.image.pixels),
            table(("question", "answer"), said) if said else "",
        )


class _WholeAnswer(AnswerStream):
    """An answer that is there already, in one piece."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        yield self._answer.text

    async def __aiter__(self) -> AsyncIterator[str]:
        yield self._answer.text

    def answer(self) -> Answer:
        return self._answer

    def cancel(self) -> None:
        """There is nothing left to stop."""


class _NotedStream(AnswerStream):
    """An answer with more notes than the model's own."""

    def __init__(self, stream: AnswerStream, image: LoadedImage, notes: tuple[str, ...]) -> None:
        self._stream, self._image, self._notes = stream, image, notes

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __aiter__(self) -> AsyncIterator[str]:
        return aiter(self._stream)

    def answer(self) -> Answer:
        return noted(self._stream.answer(), self._image, self._notes)

    def cancel(self) -> None:
        self._stream.cancel()


def _given(image: object, regions: object, format: str, unit: str) -> tuple[LoadedImage, tuple[Region, ...]]:
    loaded = load_image(image)
    return loaded, parse_regions(regions, size_wh=loaded.size_wh, format=format, unit=unit)


def _about_each(question: str, regions: Sequence[Region]) -> list[Question]:
    asked = with_mentions(_asked(question), each=True)
    return [([Turn(asked.replace("<region>", f"<{region.name}>"))], [region]) for region in regions]


def _read(
    turns: Sequence[Turn], regions: tuple[Region, ...], image: LoadedImage
) -> tuple[list[Turn], tuple[Region, ...], tuple[str, ...]]:
    _asked(turns[-1].question)
    return read_turns(turns, regions, image.size_wh)


def _checked(answer: _Given) -> _Given:
    """What a model, perhaps the user's own, returned.  Error: ModelOutputInvalid where that is no answer."""
    if not isinstance(answer, Answer | Choice):
        raise ModelOutputInvalid(f"the region model returned {shown(answer)}", do="return an Answer, or a Choice of options")
    for name, kind in _KINDS.items():
        value = getattr(answer, name)
        if not isinstance(value, kind) or (isinstance(value, Real) and not math.isfinite(value)):
            problem = f"the region model returned an answer whose {name} is {shown(value)}"
            raise ModelOutputInvalid(problem, do="fill the fields of Answer as their types say")
    return answer


def _options(options: Sequence[str]) -> list[str]:
    if isinstance(options, str) or len(options) < 2 or not all(isinstance(each, str) and each.strip() for each in options):
        raise InvalidSetting(f"the options are {options!r}", do="give at least two texts that are not empty")
    for each in options:
        check_text(each, "an option")
    return list(options)


def _asked(question: str) -> str:
    if not isinstance(question, str) or not question.strip():
        raise InvalidSetting("the question is empty", do="ask something, for example: What is <region1>?")
    return question


def _decoding(values: dict[str, Any]) -> Decoding:
    unknown = sorted(set(values) - set(Decoding.__dataclass_fields__))
    if unknown:
        raise InvalidSetting(f"unknown options {', '.join(unknown)}", do=f"use {', '.join(Decoding.__dataclass_fields__)}")
    return Decoding(**values)
