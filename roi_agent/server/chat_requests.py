"""OpenAI's messages, read as a conversation about one image."""

from collections.abc import Sequence
from dataclasses import dataclass

from roi_agent.model.domain.domains import OUTSIDE
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
class Asked:
    """A request as the region model takes it.  notes: on what was left out, and what it is about."""

    image: LoadedImage
    turns: list[Turn]
    regions: tuple[Region, ...]
    decoding: Decoding
    notes: tuple[str, ...]


def read_request(wanted: ChatRequest, state: State) -> Asked:
    """A request, read.  Errors: InvalidSetting for what is no conversation about one image, those of images and regions."""
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
    return Asked(image, turns, about, _decoding(wanted, roi.timeout_s if roi else None), (*_left_out(wanted), *told))


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
            text = text.partition(f"{NOTE}{OUTSIDE}")[0]  # no words of the model
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
