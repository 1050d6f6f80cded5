"""Detection and segmentation: `/v1/detect`, `/v1/segment`, and the raw outputs of both for our client.

Detector and segmenter each have a lane. Work ends at its next step if the client disconnects or the deadline passes.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request

from roi_agent.lanes import Job
from roi_agent.model.detection.detector import PhraseDetector, candidates_of, parse_phrases
from roi_agent.model.detection.original import as_detector
from roi_agent.model.domain.domains import known_images
from roi_agent.model.errors import InvalidSetting, ModelOutputInvalid, PointInvalid
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.segmentation.original import as_segmenter
from roi_agent.model.segmentation.segmenter import Prompt, masks_of
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.server import error_responses
from roi_agent.server.bodies import JsonRoute
from roi_agent.server.state import state_of
from roi_agent.server.waiting import until_disconnect
from roi_agent.tools.detect import MAX_REGIONS, OVERLAP, Detection, detect
from roi_agent.tools.models import failures_of
from roi_agent.tools.segment import Segmentation, segment, segment_everything
from roi_agent.tools.workspace import Workspace
from roi_agent.wire.finding import (
    CandidatesRequest,
    DetectRequest,
    DetectResponse,
    FinderInfo,
    MasksRequest,
    MasksResponse,
    SegmentRequest,
    SegmentResponse,
    WireCandidates,
    WirePrompt,
    WireScoredMask,
)
from roi_agent.wire.regions import wire_regions

_T = TypeVar("_T")
router = APIRouter(responses={**error_responses.RESPONSES}, route_class=JsonRoute)


async def _run_in_lane(request: Request, kind: str, work: Callable[[Cancellation], _T], timeout_s: float | None = None) -> _T:
    """Run work in the lane of its kind.  Errors: those of `Lanes.run`, Cancelled."""
    return await until_disconnect(request, state_of(request).lanes.run(Job(kind, work, timeout_s)))


@router.post("/v1/detect")
async def detect_regions(body: DetectRequest, request: Request) -> DetectResponse:
    """Detect things by phrases: "red star . umbrella ." or a list."""
    state = state_of(request)
    image = await state.images.aget(body.image)

    def work(stop: Cancellation) -> Detection:
        workspace = Workspace()
        workspace.add_image(image)
        with state.models.use("detect") as detector:
            return detect(
                workspace,
                body.phrases,
                detector=detector,
                threshold=body.threshold,
                overlap=OVERLAP if body.overlap is None else body.overlap,
                max_regions=body.max_regions or MAX_REGIONS,
                cancellation=stop,
            )

    return DetectResponse.of(await _run_in_lane(request, "detect", work, body.timeout_s))


@router.post("/v1/segment")
async def segment_regions(body: SegmentRequest, request: Request) -> SegmentResponse:
    """Make masks: one for each box, of the one thing that all points are on, or of everything."""
    state = state_of(request)
    image = await state.images.aget(body.image)

    def work(stop: Cancellation) -> Segmentation:
        workspace = Workspace()
        workspace.add_image(image)
        with state.models.use("segment") as segmenter:
            if not body.regions and not body.points:
                return segment_everything(workspace, segmenter=segmenter, cancellation=stop)
            boxes, several = wire_regions(body.regions), body.several
            return segment(workspace, segmenter=segmenter, boxes=boxes, points=body.points, several=several, cancellation=stop)

    return SegmentResponse.of(await _run_in_lane(request, "segment", work, body.timeout_s))


# ------------------------------------------------------------ raw outputs


@router.get("/v1/detect")
async def detector_info(request: Request) -> FinderInfo:
    """The detector's name, default threshold, and the only kind of images that it knows."""
    state = state_of(request)

    def work(stop: Cancellation) -> FinderInfo:
        with state.models.use("detect") as model, failures_of("the detector"):
            detector = _phrase_detector(model)
            return FinderInfo(name=detector.name, threshold=detector.threshold, knows=known_images(detector))

    return await _run_in_lane(request, "detect", work)


@router.post("/v1/detect/candidates")
async def detect_candidates(body: CandidatesRequest, request: Request) -> WireCandidates:
    """Every candidate box of the detector, with its score for each phrase."""
    state, phrases = state_of(request), parse_phrases(body.phrases)
    if list(phrases) != body.phrases:
        raise InvalidSetting("the phrases are not in lower case, or contain duplicates", do=f"send {escaped(list(phrases))}")
    image = await state.images.aget(body.image)

    def work(stop: Cancellation) -> WireCandidates:
        with state.models.use("detect") as model, failures_of("the detector"):
            (found,) = candidates_of(_phrase_detector(model), [image.pixels], phrases, stop)
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise ModelOutputInvalid("the detector returned numbers that are not finite", do="use other weights or fp32")
        return WireCandidates.of(replace(found, notes=(*image.notes, *found.notes)))

    return await _run_in_lane(request, "detect", work, body.timeout_s)


@router.get("/v1/segment")
async def segmenter_info(request: Request) -> FinderInfo:
    """The segmenter's name."""
    state = state_of(request)

    def work(stop: Cancellation) -> FinderInfo:
        with state.models.use("segment") as model, failures_of("the segmenter"):
            return FinderInfo(name=as_segmenter(model).name)

    return await _run_in_lane(request, "segment", work)


@router.post("/v1/segment/masks")
async def segment_masks(body: MasksRequest, request: Request) -> MasksResponse:
    """Masks for each prompt, with their scores."""
    state = state_of(request)
    image = await state.images.aget(body.image)
    prompts = [_prompt(each, image) for each in body.prompts]

    def work(stop: Cancellation) -> MasksResponse:
        with state.models.use("segment") as model, failures_of("the segmenter"):
            segmenter = as_segmenter(model)
            options: dict[str, Any] = {"several": body.several, "min_score": body.min_score}
            found = masks_of(segmenter, image, prompts, stop, **options) if prompts else []
            notes = [*image.notes, *segmenter.notes(image)]
        scored = [mask for masks in found for mask in masks]
        if not all(math.isfinite(mask.score) and math.isfinite(mask.stability) for mask in scored):
            raise ModelOutputInvalid("the segmenter returned a score that is not finite", do="use other weights or fp32")
        return MasksResponse(masks=[[WireScoredMask.of(mask) for mask in masks] for masks in found], notes=notes)

    return await _run_in_lane(request, "segment", work, body.timeout_s)


def _phrase_detector(model: object) -> PhraseDetector:
    detector = as_detector(model)
    if not isinstance(detector, PhraseDetector):
        raise InvalidSetting("the server's detector is a function without candidates", do="use /v1/detect")
    return detector


def _prompt(wire: WirePrompt, image: LoadedImage) -> Prompt:
    """Convert a prompt and check it against the image."""
    width, height = image.size_wh
    for x, y, inside in wire.points:
        if not (0 <= x <= width and 0 <= y <= height and inside in (0, 1)):
            problem = f"the point {escaped([x, y, inside])} is invalid"
            raise PointInvalid(problem, do=f"give x, y within {width} x {height} pixels, and 1 inside or 0 outside")
    if not wire.points and wire.box is None and wire.mask is None:
        raise InvalidSetting("a prompt is empty", do="give points, a box or a mask")
    boxes = parse_regions([{"box": wire.box}] if wire.box else [], size_wh=image.size_wh)
    masks = parse_regions([{"mask": wire.mask.model_dump()}] if wire.mask else [], size_wh=image.size_wh)
    points = tuple((x, y, inside == 1) for x, y, inside in wire.points)
    return Prompt(points, boxes[0].box if boxes else None, masks[0].mask if masks else None)
