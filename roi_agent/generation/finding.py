"""Detection of regions in unlabelled images: by phrases, and by segmenting everything, without duplicates."""

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

_SAME_IOU = 0.5  # IoU above which two regions are the same object
_PART_OVERLAP = 0.8  # fraction of an unnamed region inside another above which it is a part of it
_MIN_SIDE = 0.02  # of the image's side, as the paper requires of detected boxes
_MAX_AREA = 0.7  # of the image's area: background
_POINTS = 8  # prompt points along the longer side for segmenting everything


def find(
    workspace: Workspace,
    images: Sequence[WorkspaceImage],
    phrases: Sequence[str],
    *,
    detector: PhraseDetector,
    segmenter: PromptedSegmenter | None,
) -> list[tuple[Region, ...]]:
    """Return the regions of each image by score; those found by phrases precede those that were only segmented."""
    found = []
    for image, detection in zip(images, detect_in(workspace, images, list(phrases), detector=detector), strict=True):
        outlined: tuple[Region, ...] = ()
        if segmenter is not None:
            outlined = segment_everything(workspace, segmenter=segmenter, image=image, points_per_side=_POINTS).regions
        found.append(distinct(detection.regions, outlined, image.size_wh))
    return found


def distinct(named: Sequence[Region], outlined: Sequence[Region], size_wh: tuple[int, int]) -> tuple[Region, ...]:
    """Return every object once, as its highest-scoring region, without specks and backgrounds.

    named: found by phrases.  outlined: segmented; parts of other regions are dropped as well.
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
