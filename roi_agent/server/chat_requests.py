"""Conversion of OpenAI's messages to a conversation about one image."""

from collections.abc import Sequence
from dataclasses import dataclass

from roi_agent.model.domain.notes import OUTSIDE
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import MAX_NEW_TOKENS, Decoding
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.mentions import read_turns
from roi_agent.server.chat_answers import NOTE
from roi_agent.server.state import State
from roi_agent.wire.chat import ChatRequest, ImagePart, Message, Part, TextPart
from roi_agent.wire.regions import wire_regions


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """The input of the region model.  notes: about ignored parts of the request, and the regions it refers to."""

    image: LoadedImage
    turns: list[Turn]
    regions: tuple[Region, ...]
    decoding: Decoding
    notes: tuple[str, ...]


def read_request(body: ChatRequest, state: State) -> ChatQuestion:
    """Convert a request.  Errors: InvalidSetting if it is not a conversation about one image; those of images and regions."""
    parts = [(message, _parts(message)) for message in body.messages]
    images = {part.image_url.url: part for _, each in parts for part in each if isinstance(part, ImagePart)}
    if len(images) != 1:
        problem = f"the messages contain {len(images)} different images" if images else "the messages contain no image"
        raise InvalidSetting(problem, do="give one image_url, the same in all turns")
    ((url, part),) = images.items()
    image = state.images.get(url)
    if part.roi is not None and body.roi is not None:
        raise InvalidSetting("roi is given both at the image and at the top level", do="give it once")
    roi = body.roi or part.roi
    regions = parse_regions(wire_regions(roi.regions) if roi else [], size_wh=image.size_wh)
    turns, about, notes = read_turns(_turns(parts), regions, image.size_wh)
    return ChatQuestion(image, turns, about, _decoding(body, roi.timeout_s if roi else None), (*_ignored_notes(body), *notes))


def _ignored_notes(body: ChatRequest) -> tuple[str, ...]:
    """Return notes about ignored parts of the request."""
    notes = []
    if any(message.role in ("system", "developer") for message in body.messages):
        notes.append("the system message was ignored: the model was trained without one")
    if any(message.of_tools for message in body.messages):
        notes.append("tool calls and their results were ignored: the model has no tools")
    if body.ignored:
        notes.append(f"ignored, since they have no effect here: {', '.join(body.ignored)}")
    return tuple(notes)


def _parts(message: Message) -> list[Part]:
    return [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content or []


def _turns(parts: Sequence[tuple[Message, list[Part]]]) -> list[Turn]:
    """Pair questions with answers; consecutive messages of one role are joined."""
    conversation = [(message, each) for message, each in parts if message.role not in ("system", "developer")]
    merged: list[tuple[str, str]] = []
    for message, each in conversation:
        text = "\n".join(part.text for part in each if isinstance(part, TextPart)).strip()
        if message.role in ("tool", "function") or not text:
            continue
        if message.role == "assistant":
            text = text.partition(f"{NOTE}{OUTSIDE}")[0]  # added by `warning_of`
        if merged and merged[-1][0] == message.role:
            text = f"{merged.pop()[1]}\n{text}"
        merged.append((message.role, text))
    if not merged or merged[-1][0] != "user" or merged[0][0] != "user" or conversation[-1][0].role != "user":
        raise InvalidSetting("the messages do not begin and end with a user message", do="end with one, as text")
    pairs = zip(merged[::2], [*merged[1::2], ("", None)], strict=True)
    return [Turn(question, answer) for (_, question), (_, answer) in pairs]


def _decoding(body: ChatRequest, timeout_s: float | None) -> Decoding:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidSetting("top_logprobs is given without logprobs", do="set logprobs to true as well")
    return Decoding(
        max_new_tokens=body.max_completion_tokens or body.max_tokens or MAX_NEW_TOKENS,
        temperature=body.temperature or 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=stop,
        timeout_s=timeout_s,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
