"""`/v1/chat/completions`: OpenAI's messages, answered by the region model as a conversation about one image."""

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
from roi_agent.server import error_responses
from roi_agent.server.bodies import JsonRoute
from roi_agent.server.chat_answers import choice_of, usage_of, warning_of
from roi_agent.server.chat_requests import ChatQuestion, read_request
from roi_agent.server.state import State, state_of
from roi_agent.server.waiting import until_disconnect
from roi_agent.tools.models import REGION_MODEL, failures_of
from roi_agent.wire.chat import ChatCompletion, ChatRequest

router = APIRouter(route_class=JsonRoute)
_EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The answer, or its events."}


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses={**error_responses.RESPONSES, 200: _EVENTS})
async def chat_completions(body: ChatRequest, request: Request) -> Any:
    """OpenAI's chat completions: one image, regions under `roi`, and a conversation that mentions them as `<region1>`."""
    state = state_of(request)
    if body.model != state.name:
        raise ModelNotFound(f"there is no model {body.model[:80]!r}", do=f"use {state.name}")
    asked = await asyncio.to_thread(read_request, body, state)
    decodings = _decodings(asked.decoding, body.n or 1)
    head: dict[str, Any] = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": state.name}
    if body.stream:
        # Start the streams before the response, so that a full queue is a 429 and not the first event.
        streams = await _start_streams(state, asked, decodings)
        return _StreamedAnswers(_events(state, streams, asked, body, head), streams)
    question = [(asked.turns, asked.regions)]
    with failures_of(REGION_MODEL):
        answers = await until_disconnect(
            request, _gather([state.model.areply_all(asked.image, question, each) for each in decodings])
        )
        noted_answers = [with_notes(each, asked.image) for (each,) in answers]
    state.metrics.record_answers(noted_answers)
    choices = [choice_of(index, each, asked.notes) for index, each in enumerate(noted_answers)]
    return ChatCompletion(**head, choices=choices, usage=usage_of(noted_answers))


class _StreamedAnswers(StreamingResponse):
    """A response of streams that are cancelled at its end, since a client may disconnect before the first event."""

    def __init__(self, events: AsyncIterator[str], streams: Sequence[AnswerStream]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _cancel_all(self._streams)


async def _start_streams(state: State, asked: ChatQuestion, decodings: Sequence[Decoding]) -> list[AnswerStream]:
    """Start all streams or none.  Errors: those of the model, such as QueueFull."""
    streams: list[AnswerStream] = []
    try:
        for each in decodings:
            streams.append(await asyncio.to_thread(_start_stream, state, asked, each))
    except BaseException:
        _cancel_all(streams)
        raise
    return streams


def _final_answer(stream: AnswerStream, image: LoadedImage) -> Answer:
    with failures_of(REGION_MODEL):
        return with_notes(stream.answer(), image)


def _cancel_all(streams: Sequence[AnswerStream]) -> None:
    for each in streams:
        each.cancel()


def _start_stream(state: State, asked: ChatQuestion, decoding: Decoding) -> AnswerStream:
    with failures_of(REGION_MODEL):
        return state.model.reply_stream(asked.image, asked.turns, asked.regions, decoding)


async def _gather(work: Sequence[Any]) -> list[list[Answer]]:
    """Return all results, or raise the first error and cancel the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


def _decodings(decoding: Decoding, count: int) -> list[Decoding]:
    """Return one decoding per answer, each with its own seed."""
    if decoding.seed is None or count == 1:
        return [decoding] * count
    return [replace(decoding, seed=decoding.seed + index) for index in range(count)]


async def _events(
    state: State, streams: Sequence[AnswerStream], asked: ChatQuestion, body: ChatRequest, head: dict[str, Any]
) -> AsyncIterator[str]:
    """Yield server-sent events: each answer's role, pieces and end; the usage if requested; [DONE]."""
    usage = bool(body.stream_options and body.stream_options.include_usage)

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
            answers[index] = await asyncio.to_thread(_final_answer, streams[index], asked.image)
            end = choice_of(index, answers[index], asked.notes)
            if warning := warning_of(answers[index]):
                yield part(index, {"content": warning}, roi={"note": True})  # clients that read roi get it from the notes
            logprobs = end.logprobs.model_dump() if end.logprobs else None
            yield part(index, {}, finish_reason=end.finish_reason, logprobs=logprobs, roi=end.roi.model_dump())
        state.metrics.record_answers(answers.values())
        if usage:
            yield event([], usage=usage_of([answers[index] for index in sorted(answers)]).model_dump())
        yield "data: [DONE]\n\n"
    except RoiAgentError as error:
        yield _event(error_responses.error_body(error).model_dump())


async def _merged(streams: Sequence[AnswerStream]) -> AsyncIterator[tuple[int, str | None]]:
    """Yield the pieces of all streams as they arrive, with the stream's index; None at the end of a stream."""
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
