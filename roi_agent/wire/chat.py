"""The types of OpenAI's chat completions, with regions under `roi`."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from roi_agent.wire.regions import MAX_TURNS, Regions, Text, Wire, WireRegion, text_or_list

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "function_call"]


class Roi(Wire):
    """The extension of OpenAI's types.  timeout_s: deadline of the answer."""

    regions: Annotated[Regions, Field(default_factory=list)]
    timeout_s: Annotated[float, Field(gt=0, le=3600)] | None = None


class ImageURL(Wire):
    """`roi://images/HANDLE`, a `data:` URL, or a web URL if the server allows its host."""

    url: Annotated[str, Field(min_length=1)]
    detail: str | None = None


class _Part(Wire):
    """cache_control: used by other services; here, every image is cached."""

    cache_control: Any = None


class TextPart(_Part):
    type: Literal["text"]
    text: Text


class RefusalPart(_Part):
    """Part of an earlier answer; ignored."""

    type: Literal["refusal"]
    refusal: Text


class ImagePart(_Part):
    """The image; regions may be given here or at the top level of the request.  image_url: may be a plain URL."""

    type: Literal["image_url"]
    image_url: Annotated[ImageURL, BeforeValidator(lambda given: {"url": given} if isinstance(given, str) else given)]
    roi: Roi | None = None


def _kind(part: Any) -> str:
    return f"[{part.get('type') if isinstance(part, dict) else getattr(part, 'type', None)}]"


Part = Annotated[
    Annotated[TextPart, Tag("[text]")] | Annotated[ImagePart, Tag("[image_url]")] | Annotated[RefusalPart, Tag("[refusal]")],
    Discriminator(
        _kind, custom_error_type="part_type", custom_error_message="Input should be a part whose type is 'text' or 'image_url'"
    ),
]
Content = Annotated[
    Annotated[Text, Tag("[text]")] | Annotated[list[Part], Field(max_length=16, fail_fast=True), Tag("[list]")],
    Discriminator(text_or_list),
]


class Message(BaseModel):
    """Other fields that clients return with an earlier answer, such as `refusal`, are ignored.

    tool_calls, and messages with results of tools, are ignored: the model has no tools.
    """

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    tool_calls: Any = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise PydanticCustomError("no_content", "The message has no content; give a text or a list of parts")
        return self

    @property
    def of_tools(self) -> bool:
        """Whether the message calls tools or is the result of a tool."""
        return self.role in ("tool", "function") or bool(self.tool_calls)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


def _refuse(why: str) -> AfterValidator:
    """Accept only zero, null and empty values."""

    def check(given: Any) -> Any:
        if given:
            raise PydanticCustomError("unsupported", why)
        return given

    return AfterValidator(check)


Unsupported = Annotated[Any, Field(description="Zero, empty or null."), _refuse("not supported; leave it out")]
NoTools = Annotated[Any, Field(description="Empty or null."), _refuse("a region model has no tools; leave them out")]
StopText = Annotated[str, Field(min_length=1, max_length=100)]
IGNORED = {
    "audio", "metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier",
    "service_tier", "user", "verbosity",
}  # fmt: skip


class TextFormat(Wire):
    """The only supported response format."""

    type: Literal["text"]


class ChatRequest(Wire):
    """The supported fields of OpenAI's request; decoding is greedy unless a temperature is given."""

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
        Annotated[
            Annotated[StopText, Tag("[text]")] | Annotated[list[StopText], Field(max_length=4, fail_fast=True), Tag("[list]")],
            Discriminator(text_or_list),
        ]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**62), lt=2**62)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # Clients send these with neutral values; other values are rejected instead of being ignored silently.
    frequency_penalty: Unsupported = None
    presence_penalty: Unsupported = None
    logit_bias: Unsupported = None
    audio: Unsupported = None
    web_search_options: Unsupported = None
    tools: NoTools = None
    functions: NoTools = None
    tool_choice: Literal["none", "auto"] | None = None
    function_call: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    store: Literal[False] | None = None
    # Hints without effect here: ignored, and listed in the notes of the answer.
    metadata: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    reasoning_effort: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    user: Any = None
    verbosity: Any = None

    @property
    def ignored(self) -> list[str]:
        """The given fields without effect."""
        return sorted(IGNORED & self.model_fields_set)


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
    """confidence: in [0, 1].  regions: pixel boxes that were used.  notes: remarks for the reader.  timing: seconds.

    in_domain: whether the image is of the kind that the model was trained on; null if that is not known.
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
    """OpenAI's response; `roi` in each choice contains the evidence."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
