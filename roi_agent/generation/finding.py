"""Regions of images that nobody has marked: found by words, or by outlining everything, each thing once."""

from collections.abc import Sequence

from roi_agent.generation.settings import MAX_REGIONS
from roi_agent.model.detection.detector import PhraseDetector
from roi_agent.model.geometry.regions import Region
from roi_agent.model.segmentation.segmenter import PromptedSegmenter
from roi_agent.tools.detect import detect_in
from roi_agent.tools.measure import area, relate
from roi_agent.tools.segment import segment_everything
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import Workspace

_SAME_IOU = 0.5  # IoU from which two regions are one thing
_PART_OVERLAP = 0.8  # of the smaller region inside the larger: a part of a thing, where nothing names it
_MIN_SIDE = 0.02  # of the image's side, as the paper asks of detected boxes
_MAX_AREA = 0.7  # of the image's area: background
_POINTS = 8  # along the longer side, at which everything is outlined


def find(
    workspace: Workspace,
    images: Sequence[WorkspaceImage],
    phrases: Sequence[str],
    *,
    detector: PhraseDetector,
    segmenter: PromptedSegmenter | None,
) -> list[tuple[Region, ...]]:
    """The regions of each image, the surest first; those found by words before those that were only outlined."""
    found = []
    for image, detection in zip(images, detect_in(workspace, images, list(phrases), detector=detector), strict=True):
        outlined: tuple[Region, ...] = ()
        if segmenter is not None:
            outlined = segment_everything(workspace, segmenter=segmenter, image=image, points_per_side=_POINTS).regions
        found.append(distinct(detection.regions, outlined, image.size_wh))
    return found


def distinct(named: Sequence[Region], outlined: Sequence[Region], size_wh: tuple[int, int]) -> tuple[Region, ...]:
    """Every thing once, the surer region of each; neither specks nor the whole image.

    named: found by words, of any number of words each.  outlined: of which parts of other regions are left out too.
    """
    regions: list[Region] = []
    for region in (*sorted(named, key=_score), *sorted(outlined, key=_score)):
        relations = [relate(region, other) for other in regions]
        double = any(each.iou > _SAME_IOU for each in relations)
        part = region in outlined and any(each.overlap > _PART_OVERLAP for each in relations)
        if not double and not part and _plausible_size(region, size_wh):
            regions.append(region)
    return tuple(regions[:MAX_REGIONS])


def _score(region: Region) -> float:
    return -(region.score or 0.0)


def _plausible_size(region: Region, size_wh: tuple[int, int]) -> bool:
    width, height = size_wh
    large_enough = region.box.width >= _MIN_SIDE * width and region.box.height >= _MIN_SIDE * height
    return large_enough and area(region) <= _MAX_AREA * width * height
