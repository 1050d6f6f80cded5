"""A region model on a server of roi-agent, with the interface of a local one."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from roi_agent.client.connection import Connection, coded_errors
from roi_agent.model.domain.notes import received
from roi_agent.model.errors import Cancelled, ServerUnreachable
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, AnswerStream, AnswerToken, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.questions import ClosedQuestion, Question
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.wire.regions import answer_of, choice_of

_GRACE_S = 5.0  # network time in addition to the deadline of the answer


class RemoteRegionModel(RegionModel):
    """The region model of a server. Thread-safe.

    knows: the only kind of images that the model knows, in words; None without a limit.
    connection: to the server.  Errors: those of the server by their codes, ServerUnreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection, self.address = connection, connection.address
        served: dict[str, Any] = connection.get("/models")["data"][0]
        self.name: str = served["id"]
        self.knows: str | None = served.get("knows")

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        """Answer the last turn, given the earlier ones."""
        return self.reply_all(image, [(turns, regions)], decoding)[0]

    def reply_all(
        self, image: LoadedImage, questions: Sequence[Question], decoding: Decoding, *, cancellation: Cancellation = NEVER
    ) -> list[Answer]:
        """Answer several conversations about one image as one batch.  cancellation: sets the deadline of the request."""
        if not questions:
            return []
        cancellation.check("answering")
        asked = [_question(turns, regions) for turns, regions in questions]
        answers = self._ask(image, asked, decoding.within(cancellation.left_s))
        return [answer_of(each, tuple(regions)) for each, (_, regions) in zip(answers, questions, strict=True)]

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        """Choose the option with the highest length-normalised likelihood."""
        return self.choose_all(image, [([Turn(question)], regions, options)])[0]

    def choose_all(
        self, image: LoadedImage, questions: Sequence[ClosedQuestion], *, cancellation: Cancellation = NEVER
    ) -> list[Choice]:
        """As `choose_for`, at the last turn of several conversations, as one request.  cancellation: gives it its deadline."""
        if not questions:
            return []
        cancellation.check("choosing")
        asked = [_question(turns, regions) | {"options": list(options)} for turns, regions, options in questions]
        chosen = self._ask(image, asked, Decoding().within(cancellation.left_s))
        return [choice_of(each, tuple(regions)) for each, (_, regions, _) in zip(chosen, questions, strict=True)]

    def reply_stream(
        self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding
    ) -> AnswerStream:
        """As `reply`, piece by piece."""
        events = self._connection.with_image(image, lambda url: self._chat(url, turns, regions, decoding))
        return _RemoteStream(events, regions, self.address)

    def _ask(self, image: LoadedImage, questions: list[dict[str, Any]], decoding: Decoding) -> list[dict[str, Any]]:
        body = {"questions": questions, "decoding": asdict(decoding)}
        found = self._connection.post("/regions/ask", image, body, timeout_s=self._limit(decoding))
        answers: list[dict[str, Any]] = found["answers"]
        return answers

    def _chat(self, url: str, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Any:
        messages: list[Any] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
        for turn in turns:
            messages.append({"role": "user", "content": turn.question})
            messages += [{"role": "assistant", "content": turn.answer}] if turn.answer is not None else []
        wanted: dict[str, Any] = {"max_tokens": decoding.max_new_tokens, "seed": decoding.seed}
        wanted |= {"stop": list(decoding.stop)} if decoding.stop else {}
        wanted |= {"logprobs": True, "top_logprobs": decoding.top_logprobs} if decoding.top_logprobs is not None else {}
        roi = {"regions": [region.to_dict() for region in regions], "timeout_s": decoding.timeout_s}
        return self._connection.openai.chat.completions.create(
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

    def _limit(self, decoding: Decoding) -> float:
        return self._connection.timeout_s if decoding.timeout_s is None else decoding.timeout_s + _GRACE_S


class _RemoteStream(AnswerStream):
    """An answer from OpenAI's chunks, which can be read once."""

    def __init__(self, events: Any, regions: Sequence[Region], address: str) -> None:
        self._events, self._regions, self._address = events, regions, address
        self._text: list[str] = []
        self._end: dict[str, Any] = {}
        self._usage: Any = None
        self._cancelled = False

    def __iter__(self) -> Iterator[str]:
        with coded_errors(self._address):
            for chunk in () if self._cancelled else self._events:
                self._usage = chunk.usage or self._usage
                for choice in chunk.choices:
                    if choice.finish_reason:
                        self._end = choice.model_dump()
                    if choice.delta.content and not (choice.model_extra or {}).get("roi"):  # a warning that is in the notes too
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
            raise Cancelled("the question was cancelled")
        if not self._end or self._usage is None:
            raise ServerUnreachable(f"the answer of {self._address} was interrupted", do="ask again")
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
            notes=received(roi["notes"]),
            finish=self._end["finish_reason"],
            tokens=tuple(tokens),
            in_domain=roi.get("in_domain"),
        )

    def cancel(self) -> None:
        self._cancelled = True
        self._events.close()


def _question(turns: Sequence[Turn], regions: Sequence[Region]) -> dict[str, Any]:
    return {"turns": [asdict(turn) for turn in turns], "regions": [region.to_dict() for region in regions]}
