"""The interface of a region model: it answers questions about boxes of an image, in a chat or a batch, and chooses among options.

GPT4RoI in this process implements it, and any other implementation can take its place.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from roi_agent.model.errors import InvalidSetting, ModelNotFound
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, AnswerStream, Choice, Decoding
from roi_agent.model.protocol.chat import Chat
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.questions import (
    ClosedQuestion,
    Question,
    one_question_each,
    read_decoding,
    read_image_and_regions,
    read_options,
    read_question,
)
from roi_agent.model.protocol.replies import NotedStream, WholeAnswer, checked_answer, with_notes
from roi_agent.model.utils.cancellation import NEVER, Cancellation, cancellation_argument, run_in_thread


class RegionModel(ABC):
    """Answers questions about regions of an image.

    An image is anything that `load_image` accepts. Regions are anything that `parse_regions` accepts; four bare numbers are pixel
    xyxy unless `format` and `unit` say otherwise. `decoding` are the fields of `Decoding`. All methods raise the coded errors of
    `errors.py`. `aask`, `aask_each` and `achoose` are the same for async code. A question is parsed by the rule in `mentions.py`.
    One that mentions no region is about the whole image, which is then the answer's region; a note reports it.
    """

    # ------------------------------------------------------------ for callers

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
        """Answer one question in which `<region1>`, `<region2>`, ... stand for regions.

        cancellation: cancels the question if the model supports it; its deadline applies to the answer.
        """
        loaded, known = read_image_and_regions(image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        return with_notes(self._reply_in_time(loaded, [(turns, about)], read_decoding(decoding), cancellation)[0], loaded, notes)

    async def aask(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> Answer:
        """As `ask`; cancelling the task cancels the question."""
        loaded, known = await asyncio.to_thread(read_image_and_regions, image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        return with_notes((await self.areply_all(loaded, [(turns, about)], read_decoding(decoding)))[0], loaded, notes)

    def stream(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> AnswerStream:
        """As `ask`, with the text in pieces as it is generated."""
        loaded, known = read_image_and_regions(image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        stream = self.reply_stream(loaded, turns, about, read_decoding(decoding))
        return NotedStream(stream, loaded, notes)

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
        """Answer one question about each of several regions, as a batch; `<region>` stands for the region.

        For example "What is <region>?".  Without `<region>`, the question is asked about each region all the same.
        cancellation: as in `ask`.
        """
        loaded, known = read_image_and_regions(image, regions, format, unit)
        answers = self._reply_in_time(loaded, one_question_each(question, known), read_decoding(decoding), cancellation)
        return [with_notes(each, loaded) for each in answers]

    async def aask_each(
        self, image: object, question: str, regions: object, *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> list[Answer]:
        """As `ask_each`."""
        loaded, known = await asyncio.to_thread(read_image_and_regions, image, regions, format, unit)
        answers = await self.areply_all(loaded, one_question_each(question, known), read_decoding(decoding))
        return [with_notes(each, loaded) for each in answers]

    def chat(self, image: object, regions: object = (), *, format: str = "xyxy", unit: str = "pixel") -> Chat:
        """Start a conversation about one image."""
        return Chat(self.reply, *read_image_and_regions(image, regions, format, unit))

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
        """Choose the option that the model finds likeliest as the answer.  cancellation: as in `ask`."""
        loaded, known = read_image_and_regions(image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        closed = [(turns, about, read_options(options))]
        return with_notes(
            self.choose_all(loaded, closed, **cancellation_argument(self.choose_all, cancellation))[0], loaded, notes
        )

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

    # ------------------------------------------------------------ for implementations

    @abstractmethod
    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """Answer the last turn, given the earlier ones."""

    @abstractmethod
    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """Return the option with the highest length-normalised likelihood."""

    def choose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, cancellation: Cancellation = NEVER
    ) -> list[Choice]:
        """Choose at the last turn of several conversations about one image, as `choose_for` does.

        Override it to run them as a batch and to support earlier turns, which this default refuses.  cancellation: as in
        `reply_all`.  Error: InvalidSetting.
        """
        if any(len(turns) > 1 for turns, _, _ in questions):
            raise InvalidSetting("a choice has earlier turns, which this model does not support", do="choose at the first turn")
        choices = []
        for turns, regions, options in questions:
            cancellation.check("choosing")
            choices.append(self.choose_for(image, turns[0].question, options, regions))
        return choices

    def reply_all(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, *, cancellation: Cancellation = NEVER
    ) -> list[Answer]:
        """Answer several conversations about one image; override it to run them as a batch.

        cancellation: ends the work after the current answer, or at once if the model supports that.  It is optional in
        implementations.
        """
        answers = []
        for turns, regions in questions:
            cancellation.check("answering")
            answers.append(self.reply(image, turns, regions, decoding.within(cancellation.left_s)))
        return answers

    async def areply_all(self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """As `reply_all`; when the task is cancelled or its deadline passes, it ends after the current answer.

        Override it to stop at once.
        """
        stop = Cancellation(decoding.timeout_s)

        return await run_in_thread(lambda: self._reply_in_time(image, questions, decoding, stop), stop, "answering")

    async def achoose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, timeout_s: float | None = None
    ) -> list[Choice]:
        """As `choose_all`; it ends as `areply_all` does.  timeout_s: deadline for all choices, in seconds."""
        stop = Cancellation(timeout_s)
        stopping = cancellation_argument(self.choose_all, stop)
        return await run_in_thread(lambda: self.choose_all(image, questions, **stopping), stop, "choosing")

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`; override it to give the text in more than one piece."""
        return WholeAnswer(checked_answer(self.reply(image, turns, regions, decoding)))

    def _reply_in_time(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, cancellation: Cancellation
    ) -> list[Answer]:
        """As `reply_all`; a model without cancellation gets the deadline as its timeout."""
        cancellation.check("answering")
        stopping = cancellation_argument(self.reply_all, cancellation)
        timed = decoding if stopping else decoding.within(cancellation.left_s)
        return self.reply_all(image, questions, timed, **stopping)


class NoRegionModel(RegionModel):
    """A placeholder for no region model: every question is refused.  Error: ModelNotFound."""

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """Refuse the question."""
        raise ModelNotFound("there is no region model", do="give one to ask questions; finding and measuring need none")

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """Refuse the question."""
        raise ModelNotFound("there is no region model", do="give one to ask questions; finding and measuring need none")
