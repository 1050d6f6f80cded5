"""Images, and batched questions about their regions: `/v1/images`, `/v1/regions/ask`."""

import asyncio

from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.datastructures import UploadFile

from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import ImageUnreadable, InvalidSetting
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, Choice
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.mentions import read_turns
from roi_agent.model.protocol.replies import with_notes
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.server import error_responses
from roi_agent.server.bodies import JsonRoute, is_json, read_json
from roi_agent.server.state import State, state_of
from roi_agent.server.waiting import until_disconnect
from roi_agent.tools.models import REGION_MODEL, failures_of
from roi_agent.wire.regions import (
    IMAGE_PREFIX,
    AskRequest,
    AskResponse,
    ImageUpload,
    StoredImage,
    WireAnswer,
    WireQuestion,
    turns_of,
    wire_regions,
)

router = APIRouter(responses={**error_responses.RESPONSES}, route_class=JsonRoute)
_JSON = TypeAdapter(ImageUpload)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}}
_UPLOAD = {"application/json": {"schema": ImageUpload.model_json_schema()}, "image/*": _BINARY, "multipart/form-data": _FORM}


@router.post("/v1/images", openapi_extra={"requestBody": {"required": True, "content": _UPLOAD}})
async def images(request: Request) -> StoredImage:
    """Upload an image, to refer to it in later questions: as the bytes of a file, in a form, or as JSON with a `data:` URL."""
    kind = request.headers.get("content-type", "").lower()
    source: str | bytes
    if kind.startswith("multipart/form-data"):
        source = await _file(request)
    elif is_json(request):
        source = (await read_json(_JSON, await request.body())).image
    else:
        source = await request.body()
    try:
        handle, image = await asyncio.to_thread(state_of(request).images.add, source)
    except ImageUnreadable as error:
        if not kind.startswith("application/x-www-form-urlencoded"):
            raise
        raise ImageUnreadable(error.problem, do="with curl, send it with --data-binary @FILE or -F file=@FILE") from None
    width, height = image.size_wh
    return StoredImage(id=handle, url=IMAGE_PREFIX + handle, width=width, height=height, notes=list(image.notes))


async def _file(request: Request) -> bytes:
    """Read the only file of a form, under any name.  Errors: ImageUnreadable, HTTPException."""
    async with request.form(max_files=1, max_fields=16) as form:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                return await value.read()
    raise ImageUnreadable("the form contains no file", do="send one, as curl does with -F file=@FILE")


@router.get("/v1/images/{handle}")
async def image(handle: str, request: Request) -> StoredImage:
    """The size and notes of an uploaded image."""
    found = state_of(request).images.get(IMAGE_PREFIX + handle)
    width, height = found.size_wh
    return StoredImage(id=handle, url=IMAGE_PREFIX + handle, width=width, height=height, notes=list(found.notes))


@router.post("/v1/regions/ask")
async def regions_ask(body: AskRequest, request: Request) -> AskResponse:
    """Questions about regions of one image, answered as a batch; each may have earlier turns and options to choose from."""
    state = state_of(request)
    if len(body.questions) > state.settings.max_questions:
        problem = f"{len(body.questions)} questions"
        raise InvalidSetting(problem, do=f"ask at most {state.settings.max_questions} at once")
    if isinstance(state.model, LocalRegionModel):
        state.model.engine.check_room(len(body.questions))
    image = await state.images.aget(body.image)
    return AskResponse(answers=await until_disconnect(request, _answers(state, image, body)))


async def _answers(state: State, image: LoadedImage, body: AskRequest) -> list[WireAnswer]:
    """Answer open questions as one batch and choices as another, within the remaining time."""
    stop = Cancellation(body.decoding.timeout_s)
    parsed = [(each, *_parse(each, image)) for each in body.questions]
    asked = [(turns, regions) for each, turns, regions, _ in parsed if each.options is None]
    choices = [(turns, regions, each.options) for each, turns, regions, _ in parsed if each.options is not None]
    with failures_of(REGION_MODEL):
        written = iter(await state.model.areply_all(image, asked, body.decoding.to_decoding()) if asked else [])
        chosen = iter(await state.model.achoose_all(image, choices, timeout_s=stop.left_s) if choices else [])
        answers: list[Answer | Choice] = [
            with_notes(next(written), image) if each.options is None else with_notes(next(chosen), image)
            for each in body.questions
        ]
    state.metrics.record_answers(answers)
    dicts = [each.to_dict() | {"notes": [*each.notes, *notes]} for each, (*_, notes) in zip(answers, parsed, strict=True)]
    with error_responses.checked_model_output():
        return [WireAnswer.model_validate(each) for each in dicts]


def _parse(question: WireQuestion, image: LoadedImage) -> tuple[list[Turn], tuple[Region, ...], tuple[str, ...]]:
    regions = parse_regions(wire_regions(question.regions), size_wh=image.size_wh)
    return read_turns(turns_of(question), regions, image.size_wh)
