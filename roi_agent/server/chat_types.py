"""OpenAI's chat completions as this server speaks them, with regions under `roi`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from roi_agent.schema import MAX_TURNS, Regions, Text, Wire, WireRegion

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "function_call"]


class Roi(Wire):
    """What OpenAI's types have no place for.  timeout_s: until the answer must be there."""

    regions: Annotated[Regions, Field(default_factory=list)]
    timeout_s: Annotated[float, Field(gt=0, le=3600)] | None = None


class ImageURL(Wire):
    """`roi://images/HANDLE`, a `data:` URL, or a web address where the server allows its host."""

    url: Annotated[str, Field(min_length=1)]
    detail: str | None = None


class TextPart(Wire):
    type: Literal["text"]
    text: Text


class ImagePart(Wire):
    """The image; its regions may stand here or at the top of the request."""

    type: Literal["image_url"]
    image_url: ImageURL
    roi: Roi | None = None


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """Fields that clients send back with an earlier answer, such as `refusal`, mean nothing here."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(max_length=16)]
    tool_calls: Annotated[list[Any], Field(max_length=0)] | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class TextFormat(Wire):
    """The only form of an answer."""

    type: Literal["text"]


class ChatRequest(Wire):
    """The fields of OpenAI's request that a region model can follow; an answer is greedy unless a temperature is given."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=2 * MAX_TURNS, fail_fast=True)]
    roi: Roi | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=100)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=4)]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**62), lt=2**62)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # Clients send these with the values that mean nothing; any other value would be dropped in silence, so it is refused.
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | None = None
    store: Literal[False] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class RoiAnswer(BaseModel):
    """confidence: in [0, 1].  regions: pixel boxes that were used.  notes: what the reader should know.  timing: seconds.

    in_domain: whether the image is of the kind that the model was trained on; null where that is not known.
    """

    confidence: float
    regions: list[WireRegion]
    notes: list[str]
    timing: dict[str, float | bool]
    in_domain: bool | None = None


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None
    roi: RoiAnswer


class PromptDetails(BaseModel):
    cached_tokens: int


class ChatUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatCompletion(BaseModel):
    """OpenAI's answer; `roi` in each choice says what it rests on."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
