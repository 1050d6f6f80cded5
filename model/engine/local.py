"""GPT4RoI in this process as a region model, on top of the engine."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.checkpoints.dtypes import running_dtype, stored_dtype
from roi_agent.model.domain.domains import Domain, load_domain
from roi_agent.model.domain.notes import DomainNote
from roi_agent.model.engine import Completion, Engine, EngineSettings, Request, RequestHandle, Runner
from roi_agent.model.engine.stream import EngineStream
from roi_agent.model.errors import PromptTooLong
from roi_agent.model.geometry.regions import Region, small_box_warnings
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, AnswerStream, AnswerToken, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.questions import ClosedQuestion, Question
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.model.utils.progress import waiting as report_waiting

_SCORED_AT_ONCE = 256  # options of choices in the queue at once


class LocalRegionModel(RegionModel):
    """A GPT4RoI in this process.  Thread-safe: concurrent questions are answered in one batch."""

    def __init__(
        self,
        model: GPT4RoIForConditionalGeneration,
        processor: GPT4RoIProcessor,
        domain: Domain | None = None,
        settings: EngineSettings | None = None,
    ) -> None:
        self.model, self.processor, self._domain = model.eval(), processor, domain
        self._has_answered = False
        self.engine = Engine(Runner(model, processor, self._inspect), settings)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        settings: EngineSettings | None = None,
        image_size: int | None = None,
        mask_pooling: bool | None = None,
    ) -> "LocalRegionModel":
        """Load model, processor and domain from a folder written by `save_pretrained`, `roi-agent train` or `convert`.

        dtype: by default that of the stored weights, or the fast one on a CPU; see `running_dtype`.
        image_size, mask_pooling: override those of the folder; see `load_adapted`.
        Raises ModelNotFound for a folder without a model, CheckpointMismatch if weights and configuration differ,
        InvalidSetting for an image size that is not allowed.
        """
        path = Path(folder)
        model: Any
        if dtype is None:
            stored, count = stored_dtype(path)
            dtype = stored and running_dtype(stored, device, name=path.name, num_parameters=count)
        options: dict[str, Any] = {"image_size": image_size, "mask_pooling": mask_pooling}
        model, processor = load_adapted(path, dtype=dtype, device=device, **options)
        return cls(model, processor, load_domain(path), settings)

    @property
    def knows(self) -> str | None:
        """A description of the only images that the model knows; None for no limit."""
        return str(self.model.config.domain) or None

    def to(self, device: str) -> None:
        """Move the weights when no question is running; clears the image cache."""

        @torch.inference_mode(False)  # weights created in the engine's inference mode could never be trained
        def move() -> None:
            self.model.to(device)

        self.engine.run_exclusively(move)

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """Answer the last turn, given the earlier ones."""
        return self.reply_all(image, [(turns, regions)], decoding)[0]

    def reply_all(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, *, cancellation: Cancellation = NEVER
    ) -> list[Answer]:
        """Answer several conversations about one image, in batches; greedy answers equal those of `reply`.

        cancellation: cancels the questions.
        """
        waiting = self._submit(image, questions, decoding)
        try:
            with self._reporting_first_wait():
                for each in waiting:
                    each.result(cancellation)
                return [self._answer(each, regions) for each, (_, regions) in zip(waiting, questions, strict=True)]
        finally:
            _cancel_all(waiting)

    async def areply_all(self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """As `reply_all`; cancelling the task cancels the questions."""
        waiting = await asyncio.to_thread(self._submit, image, questions, decoding)
        try:
            with self._reporting_first_wait():
                for each in waiting:
                    await each.wait()
            return [self._answer(each, regions) for each, (_, regions) in zip(waiting, questions, strict=True)]
        finally:
            _cancel_all(waiting)

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`, streamed."""
        pending = self.engine.submit(replace(self._request(image, turns, regions, decoding), stream=True))
        return EngineStream(pending, self._reporting_first_wait, lambda: self._answer(pending, regions))

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """Choose the option with the highest length-normalised likelihood; all options run in one batch."""
        return self.choose_all(image, [([Turn(question)], regions, options)])[0]

    def choose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, cancellation: Cancellation = NEVER
    ) -> list[Choice]:
        """As `choose_for`, at the last turn of several conversations; the options of all of them run in the same batches.

        cancellation: cancels the questions.
        """
        scored: list[Completion] = []
        for requests in _chunks(self._scoring(image, questions)):
            waiting = self.engine.submit_all(requests)
            try:
                with self._reporting_first_wait():
                    scored += [each.result(cancellation) for each in waiting]
            finally:
                _cancel_all(waiting)
        return self._choices(image, questions, scored)

    async def achoose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, timeout_s: float | None = None
    ) -> list[Choice]:
        """As `choose_all`; cancelling the task cancels the questions.  timeout_s: for all choices together."""
        stop, scored = Cancellation(timeout_s), list[Completion]()
        for requests in _chunks(await asyncio.to_thread(self._scoring, image, questions)):
            stop.check("choosing")
            decoding = Decoding(timeout_s=stop.left_s)
            waiting = self.engine.submit_all([replace(each, decoding=decoding) for each in requests])
            try:
                with self._reporting_first_wait():
                    scored += [await each.wait() for each in waiting]
            finally:
                _cancel_all(waiting)
        return self._choices(image, questions, scored)

    @contextmanager
    def _reporting_first_wait(self) -> Iterator[None]:
        """Report a long wait for the first answer, when weights may still be read from disk."""
        with nullcontext() if self._has_answered else report_waiting("the first answer", show=False):
            yield
        self._has_answered = True

    def _scoring(self, image: LoadedImage, questions: Sequence[ClosedQuestion]) -> list[Request]:
        """A request for each option of each question."""
        return [
            self._request(image, [*turns[:-1], replace(turns[-1], answer=option)], regions, Decoding(), score=True)
            for turns, regions, options in questions
            for option in options
        ]

    def _choices(self, image: LoadedImage, questions: Sequence[ClosedQuestion], scored: Sequence[Completion]) -> list[Choice]:
        left = iter(scored)
        return [self._choice(image, regions, options, list(islice(left, len(options)))) for _, regions, options in questions]

    def _choice(
        self, image: LoadedImage, regions: Sequence[Region], options: Sequence[str], scored: Sequence[Completion]
    ) -> Choice:
        scores = [each.score for each in scored]
        best = max(range(len(options)), key=scores.__getitem__)
        first = scored[0]
        return Choice(
            text=options[best],
            index=best,
            confidence=torch.tensor(scores).softmax(0)[best].item(),
            options=tuple(options),
            scores=tuple(scores),
            regions=tuple(regions),
            usage=Usage(sum(each.read for each in scored), 0, sum(each.cached for each in scored)),
            timing=replace(_timing(first), total_s=max(each.total_s for each in scored)),
            notes=self._notes(image, regions, first.notes),
            in_domain=self._in_domain(first.notes),
        )

    def _submit(self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding) -> list[RequestHandle]:
        self.engine.check_room(len(questions))  # before rendering prompts: under overload most of that work would be wasted
        return self.engine.submit_all([self._request(image, turns, regions, decoding) for turns, regions in questions])

    def _request(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding, *, score: bool = False
    ) -> Request:
        """score: compute the likelihood of the last turn's answer instead of generating one."""
        prompt = self.processor.render(turns, regions)
        ids, labels = self.processor.encode_option(prompt) if score else self.processor.encode(prompt)
        new, limit = 0 if score else decoding.max_new_tokens, self.model.config.text_config.max_position_embeddings
        if len(ids) + new > limit:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens and the answer up to {new}; the context of the model is {limit}",
                do="ask a shorter question, start a new conversation, or lower max_new_tokens",
            )
        return Request(image, ids, prompt.regions, decoding, labels if score else None)

    def _answer(self, pending: RequestHandle, regions: Sequence[Region]) -> Answer:
        """Wait for a request and convert its completion."""
        written, request = pending.result(), pending.request
        return Answer(
            text=written.text,
            confidence=_confidence(written),
            regions=tuple(regions),
            usage=Usage(written.read, written.count, written.cached),
            timing=_timing(written),
            notes=self._notes(request.image, regions, written.notes),
            finish=written.finish,
            tokens=self._tokens(written) if request.decoding.top_logprobs is not None else (),
            in_domain=self._in_domain(written.notes),
        )

    def _tokens(self, written: Completion) -> tuple[AnswerToken, ...]:
        decode = self.processor.tokenizer.decode
        return tuple(
            AnswerToken(decode([token.id]), token.logprob, tuple((decode([each]), score) for each, score in token.likeliest))
            for token in written.tokens
        )

    def _inspect(self, image: LoadedImage, maps: list[Tensor]) -> tuple[str, ...]:
        """Notes on an image.  maps: its fused maps."""
        if self._domain is None:
            known = self.model.config.domain
            return (DomainNote.not_known(known),) if known else ()
        whole = image.whole

        def of_whole() -> list[Tensor]:
            if whole is None:
                return maps
            return list(self.model.encode_image(self.processor.pixels([whole.pixels]).to(self.model.device)).maps)

        within = self._domain.contains((whole or image).pixels, of_whole)
        return () if within else (self._domain.note("the answer"),)

    def _in_domain(self, on_image: tuple[str, ...]) -> bool | None:
        """The verdict in the notes of `_inspect`."""
        return None if self._domain is None else not any(isinstance(note, DomainNote) for note in on_image)

    def _notes(self, image: LoadedImage, regions: Sequence[Region], on_image: tuple[str, ...]) -> tuple[str, ...]:
        side = self.model.config.grid_side
        return (*small_box_warnings(regions, size_wh=image.size_wh, grid_wh=(side, side)), *on_image)


def _chunks(requests: Sequence[Request]) -> list[Sequence[Request]]:
    """Split requests, so that a question with many options leaves room in the queue."""
    return [requests[start : start + _SCORED_AT_ONCE] for start in range(0, len(requests), _SCORED_AT_ONCE)]


def _cancel_all(waiting: Sequence[RequestHandle]) -> None:
    """Cancel abandoned requests after an error or an interruption."""
    for each in waiting:
        each.cancel()


def _confidence(written: Completion) -> float:
    """The geometric mean of the token probabilities."""
    scores = [token.logprob for token in written.tokens]
    return math.exp(sum(scores) / len(scores)) if scores else 0.0


def _timing(written: Completion) -> Timing:
    return Timing(written.total_s, written.image_s, written.cached > 0, written.first_s)
