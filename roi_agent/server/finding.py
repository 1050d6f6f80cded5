"""Finding regions by words and by pointing: `/v1/detect`, `/v1/segment`, and the bare outputs of both for our client.

Detector and segmenter each have a lane; the work of a client that goes away, or whose time is over, ends at its next step.
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
from roi_agent.server import faults
from roi_agent.server.bodies import JsonRoute
from roi_agent.server.state import state_of
from roi_agent.server.waiting import unless_gone
from roi_agent.tools.detect import MAX_REGIONS, OVERLAP, detect
from roi_agent.tools.models import failures_of
from roi_agent.tools.segment import segment, segment_everything
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
router = APIRouter(responses={**faults.RESPONSES}, route_class=JsonRoute)


async def _found(request: Request, kind: str, work: Callable[[Cancellation], _T], timeout_s: float | None = None) -> _T:
    """The result of work in the lane of its kind.  Errors: those of `Lanes.run`, Cancelled."""
    return await unless_gone(request, state_of(request).finding.run(Job(kind, work, timeout_s)))


@router.post("/v1/detect")
async def detect_regions(wanted: DetectRequest, request: Request) -> DetectResponse:
    """Look for things by words: "red star . umbrella ." or a list."""
    state = state_of(request)
    seen = await state.images.aget(wanted.image)

    def work(stop: Cancellation) -> dict[str, Any]:
        workspace = Workspace()
        workspace.add_image(seen)
        with state.models.use("detect") as detector:
            found = detect(
                workspace,
                wanted.phrases,
                detector=detector,
                threshold=wanted.threshold,
                overlap=OVERLAP if wanted.overlap is None else wanted.overlap,
                max_regions=wanted.max_regions or MAX_REGIONS,
                cancellation=stop,
            )
        return found.to_dict()

    return DetectResponse.model_validate(_without_image(await _found(request, "detect", work, wanted.timeout_s)))


@router.post("/v1/segment")
async def segment_regions(wanted: SegmentRequest, request: Request) -> SegmentResponse:
    """Masks: one for each box, or of the one thing that all points point at, or of everything."""
    state = state_of(request)
    seen = await state.images.aget(wanted.image)

    def work(stop: Cancellation) -> dict[str, Any]:
        workspace = Workspace()
        workspace.add_image(seen)
        with state.models.use("segment") as segmenter:
            if not wanted.regions and not wanted.points:
                return segment_everything(workspace, segmenter=segmenter, cancellation=stop).to_dict()
            boxes, several = wire_regions(wanted.regions), wanted.several
            pointed = segment(
                workspace, segmenter=segmenter, boxes=boxes, points=wanted.points, several=several, cancellation=stop
            )
            return pointed.to_dict()

    return SegmentResponse.model_validate(_without_image(await _found(request, "segment", work, wanted.timeout_s)))


def _without_image(found: dict[str, Any]) -> dict[str, Any]:
    """The only image of a request needs no name, nor do its regions say it."""
    regions = [{key: value for key, value in region.items() if key != "image"} for region in found["regions"]]
    return {key: value for key, value in found.items() if key != "image"} | {"regions": regions}


# ------------------------------------------------------------ bare outputs


@router.get("/v1/detect")
async def detector_info(request: Request) -> FinderInfo:
    """The detector's name, its own threshold, and what it knows only."""
    state = state_of(request)

    def work(stop: Cancellation) -> FinderInfo:
        with state.models.use("detect") as model, failures_of("the detector"):
            detector = _phrase_detector(model)
            return FinderInfo(name=detector.name, threshold=detector.threshold, knows=known_images(detector))

    return await _found(request, "detect", work)


@router.post("/v1/detect/candidates")
async def detect_candidates(wanted: CandidatesRequest, request: Request) -> WireCandidates:
    """Every box that the detector considers, with its score for each phrase."""
    state, phrases = state_of(request), parse_phrases(wanted.phrases)
    if list(phrases) != wanted.phrases:
        raise InvalidSetting("the phrases are not in lower case, or not each once", do=f"send {escaped(list(phrases))}")
    seen = await state.images.aget(wanted.image)

    def work(stop: Cancellation) -> WireCandidates:
        with state.models.use("detect") as model, failures_of("the detector"):
            (found,) = candidates_of(_phrase_detector(model), [seen.pixels], phrases, stop)
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise ModelOutputInvalid("the detector gave numbers that are not finite", do="use other weights or fp32")
        return WireCandidates.of(replace(found, notes=(*seen.notes, *found.notes)))

    return await _found(request, "detect", work, wanted.timeout_s)


@router.get("/v1/segment")
async def segmenter_info(request: Request) -> FinderInfo:
    """The segmenter's name."""
    state = state_of(request)

    def work(stop: Cancellation) -> FinderInfo:
        with state.models.use("segment") as model, failures_of("the segmenter"):
            return FinderInfo(name=as_segmenter(model).name)

    return await _found(request, "segment", work)


@router.post("/v1/segment/masks")
async def segment_masks(wanted: MasksRequest, request: Request) -> MasksResponse:
    """Masks of what each prompt points at, and how sure the segmenter is of them."""
    state = state_of(request)
    seen = await state.images.aget(wanted.image)
    prompts = [_prompt(each, seen) for each in wanted.prompts]

    def work(stop: Cancellation) -> MasksResponse:
        with state.models.use("segment") as model, failures_of("the segmenter"):
            segmenter = as_segmenter(model)
            options: dict[str, Any] = {"several": wanted.several, "min_score": wanted.min_score}
            found = masks_of(segmenter, seen, prompts, stop, **options) if prompts else []
            notes = [*seen.notes, *segmenter.notes(seen)]
        scored = [mask for masks in found for mask in masks]
        if not all(math.isfinite(mask.score) and math.isfinite(mask.stability) for mask in scored):
            raise ModelOutputInvalid("the segmenter gave a score that is not finite", do="use other weights or fp32")
        return MasksResponse(masks=[[WireScoredMask.of(mask) for mask in masks] for masks in found], notes=notes)

    return await _found(request, "segment", work, wanted.timeout_s)


def _phrase_detector(model: object) -> PhraseDetector:
    detector = as_detector(model)
    if not isinstance(detector, PhraseDetector):
        raise InvalidSetting("the server's detector is a function that gives no candidates", do="use /v1/detect")
    return detector


def _prompt(wire: WirePrompt, image: LoadedImage) -> Prompt:
    """Checked against the image, as whatever reaches a model is."""
    width, height = image.size_wh
    for x, y, inside in wire.points:
        if not (0 <= x <= width and 0 <= y <= height and inside in (0, 1)):
            problem = f"the point {escaped([x, y, inside])} cannot be"
            raise PointInvalid(problem, do=f"give x, y within {width} x {height} pixels, and 1 inside or 0 outside")
    if not wire.points and wire.box is None and wire.mask is None:
        raise InvalidSetting("a prompt points at nothing", do="give points, a box or a mask")
    boxes = parse_regions([{"box": wire.box}] if wire.box else [], size_wh=image.size_wh)
    masks = parse_regions([{"mask": wire.mask.model_dump()}] if wire.mask else [], size_wh=image.size_wh)
    points = tuple((x, y, inside == 1) for x, y, inside in wire.points)
    return Prompt(points, boxes[0].box if boxes else None, masks[0].mask if masks else None)
