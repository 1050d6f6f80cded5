"""GPT4RoI in this process as a region model: text and regions in, requests to the engine, answers out."""

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
from roi_agent.model.domain.domains import NOT_KNOWN, Domain, is_verdict, load_domain
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
from roi_agent.model.utils.progress import waiting as told_waiting

_SCORED_AT_ONCE = 256  # options of choices that wait for the engine together


class LocalRegionModel(RegionModel):
    """Answers with a GPT4RoI held in this process. Safe under threads: questions that come together are answered together."""

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
        """Model, processor and domain from a folder that `save_pretrained`, `roi-agent train` or `convert` wrote.

        dtype: by default what the weights are stored in, or what is fast on a CPU; see `running_dtype`.
        image_size, mask_pooling: in place of the folder's own; see `load_adapted`.
        Raises ModelNotFound for a folder without a model, CheckpointMismatch where weights and configuration differ,
        InvalidSetting for an image size that does not fit.
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
        """The only kind of images that the model knows, in words; None for one without such a limit."""
        return str(self.model.config.domain) or None

    def to(self, device: str) -> None:
        """Move the weights, once the questions that are being answered are done; images are forgotten."""

        @torch.inference_mode(False)  # the engine's thread has it on, and weights that are made in it could never be trained
        def move() -> None:
            self.model.to(device)

        self.engine.alone(move)

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """The answer to the last turn, given the earlier ones."""
        return self.reply_all(image, [(turns, regions)], decoding)[0]

    def reply_all(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, *, cancellation: Cancellation = NEVER
    ) -> list[Answer]:
        """Answers to several conversations about one image, in batches; greedy answers are those of `reply`.

        cancellation: takes the questions back.
        """
        waiting = self._submit(image, questions, decoding)
        try:
            with self._first_told():
                for each in waiting:
                    each.result(cancellation)
                return [self._answer(each, regions) for each, (_, regions) in zip(waiting, questions, strict=True)]
        finally:
            _let_go(waiting)

    async def areply_all(self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """As `reply_all`; a task that is cancelled takes the questions back."""
        waiting = await asyncio.to_thread(self._submit, image, questions, decoding)
        try:
            with self._first_told():
                for each in waiting:
                    await each.wait()
            return [self._answer(each, regions) for each, (_, regions) in zip(waiting, questions, strict=True)]
        finally:
            _let_go(waiting)

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`, piece by piece."""
        pending = self.engine.submit(replace(self._request(image, turns, regions, decoding), stream=True))
        return EngineStream(pending, self._first_told, lambda: self._answer(pending, regions))

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """The option with the highest length-normalised likelihood; all options run as one batch."""
        return self.choose_all(image, [([Turn(question)], regions, options)])[0]

    def choose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, cancellation: Cancellation = NEVER
    ) -> list[Choice]:
        """As `choose_for`, at the last turn of several conversations; the options of all of them run in the same batches.

        cancellation: takes the questions back.
        """
        scored: list[Completion] = []
        for requests in _slices(self._scoring(image, questions)):
            waiting = self.engine.submit_all(requests)
            try:
                with self._first_told():
                    scored += [each.result(cancellation) for each in waiting]
            finally:
                _let_go(waiting)
        return self._choices(image, questions, scored)

    async def achoose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, timeout_s: float | None = None
    ) -> list[Choice]:
        """As `choose_all`; a task that is cancelled takes the questions back.  timeout_s: until all choices must be there."""
        stop, scored = Cancellation(timeout_s), list[Completion]()
        for requests in _slices(await asyncio.to_thread(self._scoring, image, questions)):
            stop.check("choosing")
            decoding = Decoding(timeout_s=stop.left_s)
            waiting = self.engine.submit_all([replace(each, decoding=decoding) for each in requests])
            try:
                with self._first_told():
                    scored += [await each.wait() for each in waiting]
            finally:
                _let_go(waiting)
        return self._choices(image, questions, scored)

    @contextmanager
    def _first_told(self) -> Iterator[None]:
        """Within, something is waited for: the first time, when weights may yet be read from the disk, a long wait is told."""
        with nullcontext() if self._has_answered else told_waiting("the first answer", show=False):
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
        self.engine.check_room(len(questions))  # before the prompts are made: under overload most of that work would be lost
        return self.engine.submit_all([self._request(image, turns, regions, decoding) for turns, regions in questions])

    def _request(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding, *, score: bool = False
    ) -> Request:
        """score: the last turn's answer is given, and only its likelihood is asked for."""
        prompt = self.processor.render(turns, regions)
        ids, labels = self.processor.encode_option(prompt) if score else self.processor.encode(prompt)
        new, limit = 0 if score else decoding.max_new_tokens, self.model.config.text_config.max_position_embeddings
        if len(ids) + new > limit:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens and the answer may have {new}; the model reads {limit}",
                do="ask a shorter question, start a new conversation, or lower max_new_tokens",
            )
        return Request(image, ids, prompt.regions, decoding, labels if score else None)

    def _answer(self, pending: RequestHandle, regions: Sequence[Region]) -> Answer:
        """Waits for it."""
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
        """What there is to say of an image.  maps: its fused maps."""
        if self._domain is None:
            known = self.model.config.domain
            return (f"{NOT_KNOWN} ({known})",) if known else ()
        whole = image.whole

        def of_whole() -> list[Tensor]:
            if whole is None:
                return maps
            return list(self.model.encode_image(self.processor.pixels([whole.pixels]).to(self.model.device)).maps)

        within = self._domain.contains((whole or image).pixels, of_whole)
        return () if within else (self._domain.note("the answer"),)

    def _in_domain(self, on_image: tuple[str, ...]) -> bool | None:
        """The verdict that `_inspect` noted."""
        return None if self._domain is None else not any(map(is_verdict, on_image))

    def _notes(self, image: LoadedImage, regions: Sequence[Region], on_image: tuple[str, ...]) -> tuple[str, ...]:
        side = self.model.config.grid_side
        return (*small_box_warnings(regions, size_wh=image.size_wh, grid_wh=(side, side)), *on_image)


def _slices(requests: Sequence[Request]) -> list[Sequence[Request]]:
    """So that a question with many options leaves room in the queue for others."""
    return [requests[start : start + _SCORED_AT_ONCE] for start in range(0, len(requests), _SCORED_AT_ONCE)]


def _let_go(waiting: Sequence[RequestHandle]) -> None:
    """Take back what nobody waits for any more, after an error or an interruption."""
    for each in waiting:
        each.cancel()


def _confidence(written: Completion) -> float:
    """The geometric mean probability of the tokens."""
    scores = [token.logprob for token in written.tokens]
    return math.exp(sum(scores) / len(scores)) if scores else 0.0


def _timing(written: Completion) -> Timing:
    return Timing(written.total_s, written.image_s, written.cached > 0, written.first_s)
