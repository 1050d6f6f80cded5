"""A region model on a server of ours: the same object as one in this process, which then needs no GPU and no weights."""

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from roi_agent.model.answers import Answer, AnswerStream, AnswerToken, Choice, Decoding, Timing, Usage
from roi_agent.model.conversation import Turn
from roi_agent.model.errors import (
    Cancelled,
    DeadlineExceeded,
    MissingExtra,
    RoiAgentError,
    ServerUnreachable,
    UnknownImage,
    all_errors,
)
from roi_agent.model.images import LoadedImage
from roi_agent.model.protocol import Question, RegionModel
from roi_agent.model.regions import Region
from roi_agent.schema import answer_of, choice_of
from roi_agent.settings import api_key_from_environment

if TYPE_CHECKING:
    pass

_T = TypeVar("_T")
_UPLOADED = 256  # handles that are remembered
_GRACE_S = 5.0  # for the way there and back, beyond the time that the answer itself may take


class RemoteRegionModel(RegionModel):
    """Answers with a model that `roi-agent serve` serves. Safe under threads.

    An image is uploaded once, and again where the server has forgotten it. A full queue and a connection that breaks are tried
    again `max_retries` times, each time after a longer pause; asking is repeatable, so nothing is done twice.

    address: such as http://localhost:8000.  api_key: by default that of ROI_AGENT_API_KEY.  timeout_s: of one try.
    Errors: those of the server by their codes, ServerUnreachable, MissingExtra.
    """

    def __init__(self, address: str, *, api_key: str | None = None, timeout_s: float = 120.0, max_retries: int = 5) -> None:
        if find_spec("openai") is None:
            raise MissingExtra("a model on a server needs the package openai", do="pip install 'roi-agent[client]'")
        import openai

        self.address = address.rstrip("/").removesuffix("/v1")
        key = api_key or api_key_from_environment() or "none"
        self._timeout_s = timeout_s
        self._client = openai.OpenAI(base_url=f"{self.address}/v1", api_key=key, timeout=timeout_s, max_retries=max_retries)
        self._uploaded: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()
        with _coded(self.address):
            self.name: str = self._client.models.list().data[0].id

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """The answer to the last turn, given the earlier ones."""
        return self.reply_all(image, [(turns, regions)], decoding)[0]

    def reply_all(self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding) -> list[Answer]:
        """Answers to several conversations about one image, as one batch."""
        if not questions:
            return []
        asked = [_question(turns, regions) for turns, regions in questions]
        answers = self._ask(image, asked, decoding)
        return [_answer(each, regions, image) for each, (_, regions) in zip(answers, questions, strict=True)]

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """The option with the highest length-normalised likelihood."""
        asked = _question([Turn(question)], regions) | {"options": list(options)}
        (chosen,) = self._ask(image, [asked], Decoding())
        return choice_of(chosen | {"notes": [*image.notes, *chosen["notes"]]}, tuple(regions))

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`, piece by piece."""
        events = self._with_image(image, lambda url: self._chat(url, turns, regions, decoding))
        return _RemoteStream(events, regions, image, self.address)

    def _ask(self, image: LoadedImage, questions: list[dict[str, Any]], decoding: Decoding) -> list[dict[str, Any]]:
        def ask(url: str) -> list[dict[str, Any]]:
            body = {"image": url, "questions": questions, "decoding": asdict(decoding)}
            options: Any = {"timeout": self._limit(decoding)}
            found: Any = self._client.post("/regions/ask", body=body, cast_to=object, options=options)
            answers: list[dict[str, Any]] = found["answers"]
            return answers

        return self._with_image(image, ask)

    def _chat(self, url: str, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Any:
        messages: list[Any] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        for turn in turns:
            messages.append({"role": "user", "content": turn.question})
            messages += [{"role": "assistant", "content": turn.answer}] if turn.answer is not None else []
        wanted: dict[str, Any] = {"max_tokens": decoding.max_new_tokens, "seed": decoding.seed}
        wanted |= {"stop": list(decoding.stop)} if decoding.stop else {}
        wanted |= {"logprobs": True, "top_logprobs": decoding.top_logprobs} if decoding.top_logprobs is not None else {}
        roi = {"regions": [region.to_dict() for region in regions], "timeout_s": decoding.timeout_s}
        return self._client.chat.completions.create(
            model=self.name,
            messages=messages,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"roi": roi},
            timeout=self._limit(decoding),
            **wanted,
        )

    def _with_image(self, image: LoadedImage, work: Callable[[str], _T]) -> _T:
        """The work, with the image uploaded; once more where the server has forgotten it, as after a restart."""
        with _coded(self.address):
            try:
                return work(self._upload(image))
            except Exception as error:
                if not isinstance(_known(error), UnknownImage):
                    raise
            with self._lock:
                self._uploaded.pop(image.digest(), None)
            return work(self._upload(image))

    def _upload(self, image: LoadedImage) -> str:
        key = image.digest()
        with self._lock:
            if key in self._uploaded:
                self._uploaded.move_to_end(key)
                return self._uploaded[key]
        file = io.BytesIO()
        image.pixels.save(file, "PNG", compress_level=1)
        url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        stored: Any = self._client.post("/images", body={"image": url}, cast_to=object)
        with self._lock:
            self._uploaded[key] = stored["url"]
            while len(self._uploaded) > _UPLOADED:
                self._uploaded.popitem(last=False)
        return str(stored["url"])

    def _limit(self, decoding: Decoding) -> float:
        return self._timeout_s if decoding.timeout_s is None else decoding.timeout_s + _GRACE_S


class _RemoteStream(AnswerStream):
    """OpenAI's chunks as an answer; read once, by whoever comes first."""

    def __init__(self, events: Any, regions: Sequence[Region], image: LoadedImage, address: str) -> None:
        self._events, self._regions, self._image, self._address = events, regions, image, address
        self._text: list[str] = []
        self._end: dict[str, Any] = {}
        self._usage: Any = None
        self._cancelled = False

    def __iter__(self) -> Iterator[str]:
        with _coded(self._address):
            for chunk in () if self._cancelled else self._events:
                self._usage = chunk.usage or self._usage
                for choice in chunk.choices:
                    if choice.finish_reason:
                        self._end = choice.model_dump()
                    if choice.delta.content:
                        self._text.append(choice.delta.content)
                        yield choice.delta.content

    async def __aiter__(self) -> AsyncIterator[str]:
        import asyncio

        pieces = iter(self)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    def answer(self) -> Answer:
        for _ in self:
            pass
        if self._cancelled:
            raise Cancelled("the question was taken back")
        if not self._end or self._usage is None:
            raise ServerUnreachable(f"the answer of {self._address} broke off", do="ask again")
        roi = self._end["roi"]
        content = (self._end["logprobs"] or {}).get("content") or []
        likeliest = [tuple((one["token"], one["logprob"]) for one in each["top_logprobs"]) for each in content]
        tokens = [AnswerToken(each["token"], each["logprob"], top) for each, top in zip(content, likeliest, strict=True)]
        usage = Usage(
            self._usage.prompt_tokens, self._usage.completion_tokens, self._usage.prompt_tokens_details.cached_tokens or 0
        )
        return Answer(
            text="".join(self._text),
            confidence=roi["confidence"],
            regions=tuple(self._regions),
            usage=usage,
            timing=Timing(**roi["timing"]),
            notes=(*self._image.notes, *roi["notes"]),
            finish=self._end["finish_reason"],
            tokens=tuple(tokens),
        )

    def cancel(self) -> None:
        self._cancelled = True
        self._events.close()


def _question(turns: Sequence[Turn], regions: Sequence[Region]) -> dict[str, Any]:
    return {"turns": [asdict(turn) for turn in turns], "regions": [region.to_dict() for region in regions]}


def _answer(wire: dict[str, Any], regions: Sequence[Region], image: LoadedImage) -> Answer:
    """The server saw the upright picture only; what was done to the file is known here."""
    return answer_of(wire | {"notes": [*image.notes, *wire["notes"]]}, tuple(regions))


@contextmanager
def _coded(address: str) -> Iterator[None]:
    """Errors of the server and of the way there, as ours."""
    import openai

    try:
        yield
    except openai.APITimeoutError:
        raise DeadlineExceeded(f"{address} did not answer in time", do="give it more time, or look at its load") from None
    except openai.APIConnectionError as error:
        problem = f"{address} cannot be reached: {error.__cause__ or error}"
        raise ServerUnreachable(problem, do="is it running? roi-agent serve starts one") from None
    except openai.APIError as error:
        known = _known(error)
        if known is None:
            raise ServerUnreachable(f"{address} answered: {error.message[:200]}", do="is it a server of roi-agent?") from None
        raise known from None


def _known(error: Exception) -> RoiAgentError | None:
    """The error that a server of ours sent."""
    sent = getattr(error, "body", None)
    if not isinstance(sent, dict) or not {"code", "problem", "do"} <= set(sent):
        return None
    kind = all_errors().get(sent["code"])
    return kind(sent["problem"], do=sent["do"]) if kind else None
