"""The types of detection and segmentation, and of their raw outputs for our client."""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Discriminator, Field, Tag

from roi_agent.model.detection.detector import MAX_PHRASES, Candidates
from roi_agent.model.domain.notes import received
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask
from roi_agent.tools.detect import Detection
from roi_agent.tools.segment import Segmentation
from roi_agent.wire.regions import ImageName, Number, Regions, Text, Wire, WireMask, WireRegion, text_or_list

MAX_PROMPTS = 4096  # a grid of 64 x 64 points

Seconds = Annotated[float, Field(gt=0, le=3600)]  # deadline of the answer, including the time in a queue
Point = Annotated[list[Number], Field(min_length=2, max_length=3)]
MarkedPoint = Annotated[list[Number], Field(min_length=3, max_length=3)]


class DetectRequest(Wire):
    """Detect things by phrases."""

    image: ImageName
    phrases: Annotated[
        Annotated[Text, Tag("[text]")] | Annotated[list[Text], Field(max_length=200, fail_fast=True), Tag("[list]")],
        Discriminator(text_or_list),
    ]
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    overlap: Annotated[float, Field(ge=0, le=1)] | None = None
    max_regions: Annotated[int, Field(ge=1, le=1000)] | None = None
    timeout_s: Seconds | None = None


class DetectResponse(Wire):
    """best_scores: for every phrase, the highest score of any candidate, even below the threshold.

    unknown: phrases with words outside the detector's vocabulary.  others: labels that were found but not requested.
    """

    regions: list[WireRegion]
    phrases: list[str]
    threshold: float
    best_scores: dict[str, float]
    notes: list[str]
    in_domain: bool | None = None
    unknown: list[str]
    others: list[str]

    @classmethod
    def of(cls, found: Detection) -> Self:
        return cls(
            regions=_without_image(found.regions),
            phrases=list(found.phrases),
            threshold=found.threshold,
            best_scores=found.best_scores,
            notes=list(found.notes),
            in_domain=found.in_domain,
            unknown=list(found.unknown),
            others=list(found.others),
        )


class SegmentRequest(Wire):
    """One mask for each box; or one thing that all points are on; or, with neither, everything."""

    image: ImageName
    regions: Regions = Field(default_factory=list)
    points: Annotated[list[Point], Field(max_length=100, fail_fast=True)] = Field(default_factory=list)
    several: bool = False
    timeout_s: Seconds | None = None


class SegmentResponse(Wire):
    """Regions with masks; the score of a region is the IoU that the model predicts for its mask."""

    regions: list[WireRegion]
    notes: list[str]

    @classmethod
    def of(cls, found: Segmentation) -> Self:
        return cls(regions=_without_image(found.regions), notes=list(found.notes))


def _without_image(regions: Sequence[Region]) -> list[WireRegion]:
    """Convert regions without the handle of their image, the only one of the request."""
    return [WireRegion.model_validate({**region.to_dict(), "image": None}) for region in regions]


# ------------------------------------------------------------ raw outputs


class FinderInfo(Wire):
    """A detector or segmenter.

    threshold: the default minimum score of a detector's regions.
    knows: the only kind of images that the model knows, in words; None without a limit.
    """

    name: str
    threshold: float | None = None
    knows: str | None = None


class CandidatesRequest(Wire):
    """Score phrases; the client decides what counts as found."""

    image: ImageName
    phrases: Annotated[list[Text], Field(min_length=1, max_length=MAX_PHRASES, fail_fast=True)]
    timeout_s: Seconds | None = None


class WireCandidates(Wire):
    """boxes: pixel xyxy, possibly over the border.  scores: for every box, one per phrase.

    unknown: phrases with words outside the detector's vocabulary.  in_domain: as in `Candidates`.
    """

    boxes: list[list[float]]
    scores: list[list[float]]
    unknown: list[str]
    notes: list[str]
    in_domain: bool | None = None

    @classmethod
    def of(cls, found: Candidates) -> Self:
        return cls(
            boxes=found.boxes.tolist(),
            scores=found.scores.tolist(),
            unknown=list(found.unknown),
            notes=list(found.notes),
            in_domain=found.in_domain,
        )

    def candidates(self, phrases: int) -> Candidates:
        """Convert to the output of a local detector.  phrases: their number."""
        boxes, scores = np.array(self.boxes, np.float64), np.array(self.scores, np.float64)
        return Candidates(
            boxes.reshape(-1, 4), scores.reshape(-1, phrases), tuple(self.unknown), received(self.notes), self.in_domain
        )


class WirePrompt(Wire):
    """A prompt for one thing: points (x, y, 1 inside or 0 outside), a box xyxy, a mask, or a combination."""

    points: Annotated[list[MarkedPoint], Field(max_length=100, fail_fast=True)] = Field(default_factory=list)
    box: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    mask: WireMask | None = None

    @classmethod
    def of(cls, prompt: Prompt) -> Self:
        box, mask = prompt.box, prompt.mask
        return cls(
            points=[[x, y, float(inside)] for x, y, inside in prompt.points],
            box=list(box.xyxy) if box else None,
            mask=WireMask(**mask.to_coco()) if mask else None,
        )


class MasksRequest(Wire):
    """One mask for each prompt, or with `several` all three of the model; none below min_score."""

    image: ImageName
    prompts: Annotated[list[WirePrompt], Field(max_length=MAX_PROMPTS, fail_fast=True)]
    several: bool = False
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    timeout_s: Seconds | None = None


class WireScoredMask(Wire):
    """mask: None if empty.  stability: IoU between slightly different thresholds."""

    mask: WireMask | None
    score: float
    stability: float

    @classmethod
    def of(cls, found: ScoredMask) -> Self:
        mask = WireMask(**found.mask.to_coco()) if found.mask else None
        return cls(mask=mask, score=found.score, stability=found.stability)

    def scored_mask(self) -> ScoredMask:
        """Convert to the output of a local segmenter."""
        mask = Mask.from_coco(self.mask.model_dump()) if self.mask else None
        return ScoredMask(mask, self.score, self.stability)


class MasksResponse(Wire):
    """Masks for each prompt, best first."""

    masks: list[list[WireScoredMask]]
    notes: list[str]
