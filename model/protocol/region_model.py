"""What a region model is: it answers questions about boxes of an image, in turns or at once, and chooses among options.

GPT4RoI in this process is one; whatever speaks this protocol can take its place.
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
from roi_agent.model.utils.cancellation import NEVER, Cancellation, in_thread, passed_on


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
        loaded, known = read_image_and_regions(image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        return with_notes(self._reply_in_time(loaded, [(turns, about)], read_decoding(decoding), cancellation)[0], loaded, notes)

    async def aask(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> Answer:
        """As `ask`; a task that is cancelled takes the question back."""
        loaded, known = await asyncio.to_thread(read_image_and_regions, image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        return with_notes((await self.areply_all(loaded, [(turns, about)], read_decoding(decoding)))[0], loaded, notes)

    def stream(
        self, image: object, question: str, regions: object = (), *, format: str = "xyxy", unit: str = "pixel", **decoding: Any
    ) -> AnswerStream:
        """As `ask`, with the text in pieces as it is written."""
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
        """Answer one question about each of many regions, as a batch; `<region>` stands for the region.

        For example "What is <region>?".  Without it, each question is asked about the region given with it.
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
        """A conversation about one image."""
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
        """Choose among options by how likely the model finds each as the answer.  cancellation: as in `ask`."""
        loaded, known = read_image_and_regions(image, regions, format, unit)
        turns, about, notes = read_question([Turn(question)], known, loaded)
        closed = [(turns, about, read_options(options))]
        return with_notes(self.choose_all(loaded, closed, **passed_on(self.choose_all, cancellation))[0], loaded, notes)

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

    def choose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, cancellation: Cancellation = NEVER
    ) -> list[Choice]:
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

        return await in_thread(lambda: self._reply_in_time(image, questions, decoding, stop), stop, "answering")

    async def achoose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, timeout_s: float | None = None
    ) -> list[Choice]:
        """As `choose_all`; it ends as `areply_all` does.  timeout_s: seconds until all choices must be there."""
        stop = Cancellation(timeout_s)
        stopping = passed_on(self.choose_all, stop)
        return await in_thread(lambda: self.choose_all(image, questions, **stopping), stop, "choosing")

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`; a model that can gives the text in more than one piece."""
        return WholeAnswer(checked_answer(self.reply(image, turns, regions, decoding)))

    def _reply_in_time(
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
