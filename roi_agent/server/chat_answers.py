"""Conversion of a region model's answers to OpenAI's types."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from roi_agent.model.domain.notes import DomainNote
from roi_agent.model.protocol.answers import Answer
from roi_agent.model.utils.messages import escaped
from roi_agent.server import error_responses
from roi_agent.wire.chat import (
    AnswerMessage,
    ChatChoice,
    ChatUsage,
    FinishReason,
    Logprobs,
    PromptDetails,
    RoiAnswer,
    TokenLogprob,
    TopLogprob,
)
from roi_agent.wire.regions import WireRegion

NOTE = "\n\nNote: "  # before a warning about the image, which is not part of the model's text


def choice_of(index: int, answer: Answer, notes: tuple[str, ...]) -> ChatChoice:
    """Convert an answer, with further notes.  Error: ModelOutputInvalid if it cannot be serialized."""
    finish, finish_notes = _finish(answer.finish)
    with error_responses.checked_model_output():
        message, roi = AnswerMessage(content=answer.text), _roi(answer, (*notes, *finish_notes))
        message = AnswerMessage(content=message.content + warning_of(answer))
        return ChatChoice(index=index, message=message, finish_reason=finish, logprobs=_logprobs(answer), roi=roi)


def warning_of(answer: Answer) -> str:
    """Return the warning about an image outside the model's domain for the text, since many clients drop `roi`."""
    return "".join(f"{NOTE}{note}." for note in answer.notes if isinstance(note, DomainNote) and note.outside)


def usage_of(answers: Sequence[Answer]) -> ChatUsage:
    """Sum up the usage of answers to one prompt, which counts once, as in OpenAI's API."""
    read, written = answers[0].usage.prompt_tokens, sum(each.usage.completion_tokens for each in answers)
    cached = PromptDetails(cached_tokens=answers[0].usage.cached_tokens)
    return ChatUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written, prompt_tokens_details=cached)


def _finish(reason: object) -> tuple[FinishReason, tuple[str, ...]]:
    """Convert a finish reason to one of OpenAI's; unknown ones become "stop" with a note."""
    known = next((each for each in get_args(FinishReason) if each == reason), None)
    if known is not None or not reason:
        return known or "stop", ()
    return "stop", (f"the model stopped for the unknown reason {escaped(reason)}",)


def _roi(answer: Answer, notes: tuple[str, ...]) -> RoiAnswer:
    regions = [WireRegion.model_validate(region.to_dict()) for region in answer.regions]
    timing = asdict(answer.timing)
    return RoiAnswer(
        confidence=answer.confidence, regions=regions, notes=[*answer.notes, *notes], timing=timing, in_domain=answer.in_domain
    )


def _logprobs(answer: Answer) -> Logprobs | None:
    if not answer.tokens:
        return None

    def entry(text: str, logprob: float) -> dict[str, Any]:
        # As in OpenAI's API: JSON has no infinities.
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}

    content = [
        TokenLogprob(**entry(each.text, each.logprob), top_logprobs=[TopLogprob(**entry(*one)) for one in each.likeliest])
        for each in answer.tokens
    ]
    return Logprobs(content=content)
