"""The types of regions, images, batched questions and errors over HTTP."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    model_serializer,
    model_validator,
)

from roi_agent.model.domain.notes import received
from roi_agent.model.errors import RequestTooLarge
from roi_agent.model.geometry.regions import MAX_REGIONS, Region
from roi_agent.model.protocol.answers import MAX_NEW_TOKENS, Answer, AnswerToken, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn

MAX_TEXT = 20_000  # characters of a text
MAX_TURNS = 64
MAX_QUESTIONS = 4096  # of one request, regardless of a server's limit
MAX_VALUES = 1_000_000  # of one body; 256 questions with 200 regions each have half of that
MAX_MASK_TEXT = 1_000_000  # characters of a mask's compressed runs
MAX_MASK_RUNS = 250_000  # of a mask as a list; a mask with a clear outline has a few thousand
IMAGE_PREFIX = "roi://images/"  # before the handle of an image

Text = Annotated[str, Field(max_length=MAX_TEXT)]
ImageName = Annotated[
    str,
    Field(
        min_length=1,
        description="`roi://images/HANDLE` of an image that was uploaded to /v1/images, or a `data:image/...;base64,` URL. "
        "Web addresses only from hosts that the server allows.",
    ),
]
Number = Annotated[float, Field(strict=True)]


class Wire(BaseModel):
    """Base class that rejects unknown fields, NaN and infinities.

    Validation stops at the first invalid item of a list, since a request may contain a million of them.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _stop_at_unknown(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > len(cls.model_fields):
            unknown = next(key for key in given if key not in cls.model_fields)
            fault: Any = {"type": "extra_forbidden", "loc": (str(unknown)[:200],), "input": None}
            raise ValidationError.from_exception_data(cls.__name__, [fault])
        return given


def check_values(content: bytes, most: int = MAX_VALUES) -> None:
    """Check the number of values of JSON before it is parsed.  Error: RequestTooLarge."""
    if content.count(b",") + content.count(b":") > most:
        raise RequestTooLarge(f"the body contains more than {most} values", do="send less in one request")


def text_or_list(given: Any) -> str:
    """Return the tag of the matching branch of a text-or-list field, so that errors do not list the other."""
    return "[list]" if isinstance(given, list) else "[text]"


class WireMask(Wire):
    """COCO's run-length encoding."""

    size: Annotated[list[int], Field(min_length=2, max_length=2, description="[height, width]")]
    counts: Annotated[
        Annotated[str, Field(max_length=MAX_MASK_TEXT), Tag("[text]")]
        | Annotated[list[int], Field(max_length=MAX_MASK_RUNS, fail_fast=True), Tag("[list]")],
        Discriminator(text_or_list),
    ]


class WireRegion(Wire):
    """A box or mask with a name; default names are region1, region2, ... in order."""

    name: str | None = None
    box: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    format: Literal["xyxy", "xywh", "cxcywh"] | None = None
    unit: Literal["pixel", "normalised", "thousandths"] | None = None
    mask: WireMask | None = None
    label: str | None = None
    score: Number | None = None
    source: str | None = None
    prompt: str | None = None
    image: str | None = None
    parent: str | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


Regions = Annotated[list[WireRegion], Field(max_length=MAX_REGIONS, fail_fast=True)]


def wire_regions(regions: list[WireRegion]) -> list[dict[str, Any]]:
    """Convert regions for `parse_regions`."""
    return [region.model_dump() for region in regions]


# ------------------------------------------------------------ images


class ImageUpload(Wire):
    """An image as JSON."""

    image: ImageName


class StoredImage(Wire):
    """An image that later questions can refer to; it expires some time after its last use.

    id: its handle.  url: the reference for later requests.  width, height: in pixels, upright.
    """

    id: str
    object: Literal["image"] = "image"
    url: str
    width: int
    height: int
    notes: list[str]


# ------------------------------------------------------------ questions in batches


class WireTurn(Wire):
    """A question with `<region1>`, ..., and its answer, if any."""

    question: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    answer: Text | None = None


class WireQuestion(Wire):
    """A conversation whose last turn is unanswered.  options: choose the likeliest of these instead of generating."""

    turns: Annotated[list[WireTurn], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)]
    regions: Regions = []
    options: Annotated[list[Text], Field(min_length=2, max_length=64, fail_fast=True)] | None = None


class WireDecoding(Wire):
    """Decoding options; greedy by default.  See `Decoding`."""

    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = MAX_NEW_TOKENS
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=4)] = []
    timeout_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def to_decoding(self) -> Decoding:
        """Convert for the region model."""
        return Decoding(**(self.model_dump() | {"stop": tuple(self.stop)}))


class AskRequest(Wire):
    """Questions about one image, which are answered as a batch."""

    image: ImageName
    questions: Annotated[list[WireQuestion], Field(min_length=1, max_length=MAX_QUESTIONS, fail_fast=True)]
    decoding: WireDecoding = WireDecoding()


class WireAnswer(Wire):
    """An answer, or a choice among `options`; see `Answer` and `Choice`."""

    text: str
    confidence: float
    regions: list[WireRegion]
    usage: dict[str, int]
    timing: dict[str, float | bool]
    notes: list[str]
    finish: str | None = None
    tokens: list[dict[str, Any]] = []
    index: int | None = None
    options: list[str] | None = None
    scores: list[float] | None = None
    in_domain: bool | None = None


class AskResponse(Wire):
    """One answer per question, in order."""

    answers: list[WireAnswer]


def turns_of(question: WireQuestion) -> list[Turn]:
    """Convert the turns of a question for the region model."""
    return [Turn(turn.question, turn.answer) for turn in question.turns]


def answer_of(wire: dict[str, Any], regions: tuple[Region, ...]) -> Answer:
    """Convert a server's answer about regions that the client knows."""
    tokens = tuple(
        AnswerToken(each["text"], each["logprob"], tuple((text, score) for text, score in each["likeliest"]))
        for each in wire["tokens"]
    )
    return Answer(
        text=wire["text"],
        confidence=wire["confidence"],
        regions=regions,
        usage=Usage(**wire["usage"]),
        timing=Timing(**wire["timing"]),
        notes=received(wire["notes"]),
        finish=wire["finish"],
        tokens=tokens,
        in_domain=wire.get("in_domain"),
    )


def choice_of(wire: dict[str, Any], regions: tuple[Region, ...]) -> Choice:
    """Convert a server's choice about regions that the client knows."""
    return Choice(
        text=wire["text"],
        index=wire["index"],
        confidence=wire["confidence"],
        options=tuple(wire["options"]),
        scores=tuple(wire["scores"]),
        regions=regions,
        usage=Usage(**wire["usage"]),
        timing=Timing(**wire["timing"]),
        notes=received(wire["notes"]),
        in_domain=wire.get("in_domain"),
    )


# ------------------------------------------------------------ errors


class WireError(BaseModel):
    """code: as in the documentation of errors.  problem, do: parts of the message.  param: the invalid field."""

    message: str
    type: str
    param: str | None = None
    code: str
    problem: str
    do: str


class ErrorResponse(BaseModel):
    """The body of every response that is not 2xx."""

    error: WireError
