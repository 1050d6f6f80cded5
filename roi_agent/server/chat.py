"""`/v1/chat/completions`: OpenAI's messages in, a conversation about one image to the region model, OpenAI's answer out."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from roi_agent.model.domain.verdict import OUTSIDE
from roi_agent.model.errors import InvalidSetting, ModelNotFound, RoiAgentError
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import MAX_NEW_TOKENS, Answer, AnswerStream, Decoding
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.mentions import read_turns
from roi_agent.model.protocol.replies import noted
from roi_agent.model.utils.messages import shown
from roi_agent.server import faults
from roi_agent.server.bodies import JsonRoute
from roi_agent.server.state import State, state_of
from roi_agent.server.waiting import unless_gone
from roi_agent.tools.models import REGION_MODEL, failures_of
from roi_agent.wire.chat import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatRequest,
    ChatUsage,
    FinishReason,
    ImagePart,
    Logprobs,
    Message,
    Part,
    PromptDetails,
    RoiAnswer,
    TextPart,
    TokenLogprob,
    TopLogprob,
)
from roi_agent.wire.regions import WireRegion, wire_regions

router = APIRouter(route_class=JsonRoute)
_NOTE = "\n\nNote: "
_EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The answer, or its events."}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the region model takes it.  notes: on what was left out, and what it is about."""

    image: LoadedImage
    turns: list[Turn]
    regions: tuple[Region, ...]
    decoding: Decoding
    notes: tuple[str, ...]


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={**faults.RESPONSES, 200: _EVENTS})
async def chat_completions(wanted: ChatRequest, request: Request) -> Any:
    """OpenAI's chat completions: one image, regions under `roi`, and a conversation that mentions them as `<region1>`."""
    state = state_of(request)
    if wanted.model != state.name:
        raise ModelNotFound(f"there is no model {wanted.model[:80]!r}", do=f"use {state.name}")
    asked = await asyncio.to_thread(_read, wanted, state)
    ways = _ways(asked.decoding, wanted.n or 1)
    head: dict[str, Any] = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": state.name}
    if wanted.stream:
        # Before the answer begins, so that a full queue is a 429 and not the first event of a stream.
        streams = await _begin_all(state, asked, ways)
        return _StreamedAnswers(_events(state, streams, asked, wanted, head), streams)
    question = [(asked.turns, asked.regions)]
    with failures_of(REGION_MODEL):
        answers = await unless_gone(request, _all([state.model.areply_all(asked.image, question, each) for each in ways]))
        told = [noted(each, asked.image) for (each,) in answers]
    state.metrics.answered(told)
    choices = [_choice(index, each, asked.notes) for index, each in enumerate(told)]
    return ChatCompletion(**head, choices=choices, usage=_usage(told))


class _StreamedAnswers(StreamingResponse):
    """Events of streams, which are taken back at its end: a client may leave before the first event is asked for."""

    def __init__(self, events: AsyncIterator[str], streams: Sequence[AnswerStream]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _take_back(self._streams)


async def _begin_all(state: State, asked: _Asked, ways: Sequence[Decoding]) -> list[AnswerStream]:
    """All streams or none.  Errors: those of the model, such as QueueFull."""
    streams: list[AnswerStream] = []
    try:
        for each in ways:
            streams.append(await asyncio.to_thread(_begin, state, asked, each))
    except BaseException:
        _take_back(streams)
        raise
    return streams


def _ended(stream: AnswerStream, image: LoadedImage) -> Answer:
    with failures_of(REGION_MODEL):
        return noted(stream.answer(), image)


def _take_back(streams: Sequence[AnswerStream]) -> None:
    for each in streams:
        each.cancel()


def _begin(state: State, asked: _Asked, decoding: Decoding) -> AnswerStream:
    with failures_of(REGION_MODEL):
        return state.model.reply_stream(asked.image, asked.turns, asked.regions, decoding)


async def _all(work: Sequence[Any]) -> list[list[Answer]]:
    """All results, or the first error with the rest cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


def _ways(decoding: Decoding, count: int) -> list[Decoding]:
    """As many as answers are wanted, each with a seed of its own."""
    if decoding.seed is None or count == 1:
        return [decoding] * count
    return [replace(decoding, seed=decoding.seed + index) for index in range(count)]


# ------------------------------------------------------------ from OpenAI's messages


def _read(wanted: ChatRequest, state: State) -> _Asked:
    """Errors: InvalidSetting for what is no conversation about one image, those of images and regions."""
    parts = [(message, _parts(message)) for message in wanted.messages]
    images = {part.image_url.url: part for _, each in parts for part in each if isinstance(part, ImagePart)}
    if len(images) != 1:
        problem = f"the messages hold {len(images)} different images" if images else "the messages hold no image"
        raise InvalidSetting(problem, do="give one image_url, the same in all turns")
    ((url, part),) = images.items()
    image = state.images.get(url)
    if part.roi is not None and wanted.roi is not None:
        raise InvalidSetting("roi stands at the image and at the top of the request", do="give it once")
    roi = wanted.roi or part.roi
    regions = parse_regions(wire_regions(roi.regions) if roi else [], size_wh=image.size_wh)
    turns, about, told = read_turns(_turns(parts), regions, image.size_wh)
    return _Asked(image, turns, about, _decoding(wanted, roi.timeout_s if roi else None), (*_left_out(wanted), *told))


def _left_out(wanted: ChatRequest) -> tuple[str, ...]:
    """Notes on what the answer does not rest on."""
    notes = []
    if any(message.role in ("system", "developer") for message in wanted.messages):
        notes.append("the system message was left out: the model was trained without one")
    if any(message.of_tools for message in wanted.messages):
        notes.append("tool calls and their results were left out: the model has no tools")
    if wanted.ignored:
        notes.append(f"ignored, since they change no answer here: {', '.join(wanted.ignored)}")
    return tuple(notes)


def _parts(message: Message) -> list[Part]:
    return [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content or []


def _turns(parts: Sequence[tuple[Message, list[Part]]]) -> list[Turn]:
    """Questions with their answers; messages of one side that follow one another are one."""
    spoken = [(message, each) for message, each in parts if message.role not in ("system", "developer")]
    said: list[tuple[str, str]] = []
    for message, each in spoken:
        text = "\n".join(part.text for part in each if isinstance(part, TextPart)).strip()
        if message.role in ("tool", "function") or not text:
            continue
        if message.role == "assistant":
            text = text.partition(f"{_NOTE}{OUTSIDE}")[0]  # no words of the model
        if said and said[-1][0] == message.role:
            text = f"{said.pop()[1]}\n{text}"
        said.append((message.role, text))
    if not said or said[-1][0] != "user" or said[0][0] != "user" or spoken[-1][0].role != "user":
        raise InvalidSetting("the messages do not begin and end with a question of the user", do="end with one, as text")
    pairs = zip(said[::2], [*said[1::2], ("", None)], strict=True)
    return [Turn(question, answer) for (_, question), (_, answer) in pairs]


def _decoding(wanted: ChatRequest, timeout_s: float | None) -> Decoding:
    stop = (wanted.stop,) if isinstance(wanted.stop, str) else tuple(wanted.stop or ())
    if wanted.top_logprobs is not None and not wanted.logprobs:
        raise InvalidSetting("top_logprobs is given without logprobs", do="set logprobs to true as well")
    return Decoding(
        max_new_tokens=wanted.max_completion_tokens or wanted.max_tokens or MAX_NEW_TOKENS,
        temperature=wanted.temperature or 0.0,
        top_p=1.0 if wanted.top_p is None else wanted.top_p,
        seed=wanted.seed,
        stop=stop,
        timeout_s=timeout_s,
        top_logprobs=(wanted.top_logprobs or 0) if wanted.logprobs else None,
    )


# ------------------------------------------------------------ to OpenAI's answers


def _choice(index: int, answer: Answer, notes: tuple[str, ...]) -> ChatChoice:
    finish, told = _finish(answer.finish)
    with faults.of_model():
        message, roi = AnswerMessage(content=answer.text), _roi(answer, (*notes, *told))
        message = AnswerMessage(content=message.content + _warning(answer))
        return ChatChoice(index=index, message=message, finish_reason=finish, logprobs=_logprobs(answer), roi=roi)


def _finish(reason: object) -> tuple[FinishReason, tuple[str, ...]]:
    """A model's reason to end in OpenAI's terms; one for which those have no word is "stop", with a note on what it was."""
    known = next((each for each in get_args(FinishReason) if each == reason), None)
    if known is not None or not reason:
        return known or "stop", ()
    return "stop", (f"the model ended for the reason {shown(reason)}",)


def _warning(answer: Answer) -> str:
    """What the text of an answer says of an image that the model does not know: many clients drop `roi`."""
    return "".join(f"{_NOTE}{note}." for note in answer.notes if note.startswith(OUTSIDE))


def _roi(answer: Answer, notes: tuple[str, ...]) -> RoiAnswer:
    regions = [WireRegion.model_validate(region.to_dict()) for region in answer.regions]
    timing = asdict(answer.timing)
    return RoiAnswer(
        confidence=answer.confidence, regions=regions, notes=[*answer.notes, *notes], timing=timing, in_domain=answer.in_domain
    )


def _logprobs(answer: Answer) -> Logprobs | None:
    if not answer.tokens:
        return None

    def told(text: str, logprob: float) -> dict[str, Any]:
        # OpenAI gives no infinities, which JSON does not have.
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}

    content = [
        TokenLogprob(**told(each.text, each.logprob), top_logprobs=[TopLogprob(**told(*one)) for one in each.likeliest])
        for each in answer.tokens
    ]
    return Logprobs(content=content)


def _usage(answers: Sequence[Answer]) -> ChatUsage:
    """The prompt counts once, as at OpenAI's, however many answers there are."""
    read, written = answers[0].usage.prompt_tokens, sum(each.usage.completion_tokens for each in answers)
    cached = PromptDetails(cached_tokens=answers[0].usage.cached_tokens)
    return ChatUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written, prompt_tokens_details=cached)


async def _events(
    state: State, streams: Sequence[AnswerStream], asked: _Asked, wanted: ChatRequest, head: dict[str, Any]
) -> AsyncIterator[str]:
    """Server-sent events: each answer's role, its pieces and its end; the usage where it is wanted; [DONE]."""
    usage = bool(wanted.stream_options and wanted.stream_options.include_usage)

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        chunk = {**head, "object": "chat.completion.chunk", "choices": choices, **({"usage": None} if usage else {}), **more}
        return _event(chunk)

    def part(index: int, delta: dict[str, Any], **more: Any) -> str:
        return event([{"index": index, "delta": delta, "finish_reason": None, **more}])

    try:
        for index in range(len(streams)):
            yield part(index, {"role": "assistant", "content": ""})
        answers: dict[int, Answer] = {}
        async for index, piece in _merged(streams):
            if piece is not None:
                yield part(index, {"content": piece})
                continue
            answers[index] = await asyncio.to_thread(_ended, streams[index], asked.image)
            end = _choice(index, answers[index], asked.notes)
            if warning := _warning(answers[index]):
                yield part(index, {"content": warning}, roi={"note": True})  # a client that reads roi has it in the notes
            logprobs = end.logprobs.model_dump() if end.logprobs else None
            yield part(index, {}, finish_reason=end.finish_reason, logprobs=logprobs, roi=end.roi.model_dump())
        state.metrics.answered(answers.values())
        if usage:
            yield event([], usage=_usage([answers[index] for index in sorted(answers)]).model_dump())
        yield "data: [DONE]\n\n"
    except RoiAgentError as error:
        yield _event(faults.body(error).model_dump())


async def _merged(streams: Sequence[AnswerStream]) -> AsyncIterator[tuple[int, str | None]]:
    """The pieces of all streams as they come, with the stream's number; None at a stream's end."""
    pieces: asyncio.Queue[tuple[int, str | Exception | None]] = asyncio.Queue()

    async def follow(index: int) -> None:
        try:
            with failures_of(REGION_MODEL):
                async for piece in streams[index]:
                    await pieces.put((index, piece))
            await pieces.put((index, None))
        except Exception as error:
            await pieces.put((index, error))

    following = [asyncio.ensure_future(follow(index)) for index in range(len(streams))]
    try:
        left = len(streams)
        while left:
            index, piece = await pieces.get()
            if isinstance(piece, Exception):
                raise piece
            left -= piece is None
            yield index, piece
    finally:
        for each in following:
            each.cancel()


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"
