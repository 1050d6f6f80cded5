"""`/v1/chat/completions`: OpenAI's messages in, a conversation about one image to the region model, OpenAI's answer out."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from roi_agent.model.errors import ModelNotFound, RoiAgentError
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, AnswerStream, Decoding
from roi_agent.model.protocol.replies import with_notes
from roi_agent.server import faults
from roi_agent.server.bodies import JsonRoute
from roi_agent.server.chat_answers import choice_of, usage_of, warning_of
from roi_agent.server.chat_requests import Asked, read_request
from roi_agent.server.state import State, state_of
from roi_agent.server.waiting import unless_gone
from roi_agent.tools.models import REGION_MODEL, failures_of
from roi_agent.wire.chat import ChatCompletion, ChatRequest

router = APIRouter(route_class=JsonRoute)
_EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The answer, or its events."}


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={**faults.RESPONSES, 200: _EVENTS})
async def chat_completions(wanted: ChatRequest, request: Request) -> Any:
    """OpenAI's chat completions: one image, regions under `roi`, and a conversation that mentions them as `<region1>`."""
    state = state_of(request)
    if wanted.model != state.name:
        raise ModelNotFound(f"there is no model {wanted.model[:80]!r}", do=f"use {state.name}")
    asked = await asyncio.to_thread(read_request, wanted, state)
    ways = _ways(asked.decoding, wanted.n or 1)
    head: dict[str, Any] = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": state.name}
    if wanted.stream:
        # Before the answer begins, so that a full queue is a 429 and not the first event of a stream.
        streams = await _begin_all(state, asked, ways)
        return _StreamedAnswers(_events(state, streams, asked, wanted, head), streams)
    question = [(asked.turns, asked.regions)]
    with failures_of(REGION_MODEL):
        answers = await unless_gone(request, _all([state.model.areply_all(asked.image, question, each) for each in ways]))
        told = [with_notes(each, asked.image) for (each,) in answers]
    state.metrics.answered(told)
    choices = [choice_of(index, each, asked.notes) for index, each in enumerate(told)]
    return ChatCompletion(**head, choices=choices, usage=usage_of(told))


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


async def _begin_all(state: State, asked: Asked, ways: Sequence[Decoding]) -> list[AnswerStream]:
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
        return with_notes(stream.answer(), image)


def _take_back(streams: Sequence[AnswerStream]) -> None:
    for each in streams:
        each.cancel()


def _begin(state: State, asked: Asked, decoding: Decoding) -> AnswerStream:
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


async def _events(
    state: State, streams: Sequence[AnswerStream], asked: Asked, wanted: ChatRequest, head: dict[str, Any]
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
            end = choice_of(index, answers[index], asked.notes)
            if warning := warning_of(answers[index]):
                yield part(index, {"content": warning}, roi={"note": True})  # a client that reads roi has it in the notes
            logprobs = end.logprobs.model_dump() if end.logprobs else None
            yield part(index, {}, finish_reason=end.finish_reason, logprobs=logprobs, roi=end.roi.model_dump())
        state.metrics.answered(answers.values())
        if usage:
            yield event([], usage=usage_of([answers[index] for index in sorted(answers)]).model_dump())
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
