"""A region model's answers, written as OpenAI's."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from roi_agent.model.domain.domains import OUTSIDE
from roi_agent.model.protocol.answers import Answer
from roi_agent.model.utils.messages import escaped
from roi_agent.server import faults
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

NOTE = "\n\nNote: "  # before what an answer's text says of its image, which is no word of the model


def choice_of(index: int, answer: Answer, notes: tuple[str, ...]) -> ChatChoice:
    """One answer of several, with notes besides its own.  Error: ModelOutputInvalid for what cannot be written."""
    finish, told = _finish(answer.finish)
    with faults.of_model():
        message, roi = AnswerMessage(content=answer.text), _roi(answer, (*notes, *told))
        message = AnswerMessage(content=message.content + warning_of(answer))
        return ChatChoice(index=index, message=message, finish_reason=finish, logprobs=_logprobs(answer), roi=roi)


def warning_of(answer: Answer) -> str:
    """What the text of an answer says of an image that the model does not know: many clients drop `roi`."""
    return "".join(f"{NOTE}{note}." for note in answer.notes if note.startswith(OUTSIDE))


def usage_of(answers: Sequence[Answer]) -> ChatUsage:
    """The prompt counts once, as at OpenAI's, however many answers there are."""
    read, written = answers[0].usage.prompt_tokens, sum(each.usage.completion_tokens for each in answers)
    cached = PromptDetails(cached_tokens=answers[0].usage.cached_tokens)
    return ChatUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written, prompt_tokens_details=cached)


def _finish(reason: object) -> tuple[FinishReason, tuple[str, ...]]:
    """A model's reason to end in OpenAI's terms; one for which those have no word is "stop", with a note on what it was."""
    known = next((each for each in get_args(FinishReason) if each == reason), None)
    if known is not None or not reason:
        return known or "stop", ()
    return "stop", (f"the model ended for the reason {escaped(reason)}",)


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
