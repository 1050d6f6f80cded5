"""Tools that find regions by phrases or by points and boxes."""

from typing import Any

from pydantic import Field

from roi_agent.model.geometry.regions import MAX_REGIONS
from roi_agent.tools.ability import Ability, Context
from roi_agent.tools.arguments import Arguments, ImageHandle, PixelBox, PixelPoint, RegionHandles
from roi_agent.tools.detect import detect
from roi_agent.tools.reply import ToolReply
from roi_agent.tools.results import Judged
from roi_agent.tools.segment import segment, segment_everything


class FindArguments(Arguments):
    """Arguments of find_regions."""

    phrases: list[str] = Field(
        min_length=1, max_length=100, description='What to look for, as short names: ["red umbrella", "star"]. Not a question.'
    )
    image: ImageHandle
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Lowest score that counts; leave it out, or lower it to see uncertain finds."
    )


def _find(context: Context, given: FindArguments) -> ToolReply:
    options: dict[str, Any] = {"image": given.image, "threshold": given.threshold, "cancellation": context.cancellation}
    with context.models.use("detect") as detector:
        found = detect(context.workspace, given.phrases, detector=detector, **options)
    return ToolReply(found.sentence(), found.regions, Judged.by(detector, found))


FIND_REGIONS = Ability(
    "find_regions",
    "Look for things by name in an image. Everything found becomes a region with a handle (region1, ...), a label"
    ' and a score; use the handles in all other tools. Names may have a colour or a size ("red star"). Where '
    "nothing is found, the reply says so with the best score of each name: the thing is then most likely not "
    "there. A name that the detector never learned tells nothing of whether it is there.",
    FindArguments,
    _find,
    group="detect",
    changes=("regions",),
)


class SegmentArguments(Arguments):
    """Arguments of segment_regions."""

    regions: RegionHandles = Field(default=[], description="Regions to make masks of, one new region for each.")
    boxes: list[PixelBox] = Field(
        default=[], max_length=MAX_REGIONS, description="Boxes to make masks of, one new region for each."
    )
    points: list[PixelPoint] = Field(default=[], max_length=100, description="Points that all lie on ONE thing.")
    outside: list[PixelPoint] = Field(default=[], max_length=100, description="Points that this thing does not cover.")
    image: ImageHandle


def _segment(context: Context, given: SegmentArguments) -> ToolReply:
    points = [(*point, 1) for point in given.points] + [(*point, 0) for point in given.outside]
    options: dict[str, Any] = {
        "regions": given.regions,
        "boxes": given.boxes,
        "points": points,
        "cancellation": context.cancellation,
    }
    with context.models.use("segment") as segmenter:
        found = segment(context.workspace, segmenter=segmenter, image=given.image, **options)
    return ToolReply(found.sentence(), found.regions, found)


SEGMENT_REGIONS = Ability(
    "segment_regions",
    "Make exact masks: of regions you have, of boxes, or of the one thing that points lie on. Each mask becomes a"
    " new region. Use it when the outline or the area matters, or when all you have is a point.",
    SegmentArguments,
    _segment,
    group="segment",
    changes=("regions",),
)


class EverythingArguments(Arguments):
    """Arguments of segment_everything."""

    image: ImageHandle


def _everything(context: Context, given: EverythingArguments) -> ToolReply:
    with context.models.use("segment") as segmenter:
        found = segment_everything(context.workspace, segmenter=segmenter, image=given.image, cancellation=context.cancellation)
    return ToolReply(found.sentence(), found.regions, found)


SEGMENT_EVERYTHING = Ability(
    "segment_everything",
    "Find everything in an image without naming it. Slower than find_regions, and the regions have no labels; use"
    ' it when you do not know what to look for, then ask_each_region "What is <region>?".',
    EverythingArguments,
    _everything,
    group="segment",
    changes=("regions",),
)
