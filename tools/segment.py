"""From points, boxes and masks to regions with masks; and everything that an image holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torchvision.ops import nms

from roi_agent.model.errors import InvalidSetting, ModelOutputInvalid, PointInvalid
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.segmentation.original import as_segmenter
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask, masks_of
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.models import failures_of
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import ImageName, RegionName, Workspace

MAX_PROMPTS = 200
MAX_POINTS = 100
MAX_POINTS_PER_SIDE = 64
MAX_REGIONS = 100  # of everything in an image

_FAR = 1e9  # pixels: no number that is finite and of use lies beyond
_SPECK = 0.1  # of a mask's largest piece: pieces below are dropped, since one stray pixel would stretch the tight box
_DOUBLE = 0.7  # IoU of boxes from which two masks of everything count as one


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Regions with masks and tight boxes; a region's score is the IoU that the model expects its mask to have.

    notes: what the reader should know, such as how the image was read, or a prompt that gave no mask.
    """

    image: str
    regions: tuple[Region, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a region has the keys that `parse_regions` reads."""
        return {"image": self.image, "regions": [region.to_dict() for region in self.regions], "notes": list(self.notes)}

    def sentence(self) -> str:
        """For example: 1 mask in image1: region3 (from region1, 2381 px, 0.95)."""
        named = []
        for region in self.regions:
            origin = f"from {region.parent}, " if region.parent else ""
            area = f"{region.mask.area} px, " if region.mask else ""
            named.append(f"{region.name} ({origin}{area}{region.score:.2f})")
        masks = f"{len(named)} mask{'s' if len(named) != 1 else ''} in {self.image}"
        return "; ".join([f"{masks}: {', '.join(named)}" if named else f"no mask in {self.image}", *self.notes])

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import regions_table, soft, stacked

        return stacked(soft(self.sentence()), regions_table(self.regions))


def segment(
    workspace: Workspace,
    *,
    segmenter: object,
    image: ImageName = None,
    regions: Sequence[RegionName] = (),
    boxes: object = (),
    points: object = (),
    mask: object = None,
    several: bool = False,
    format: str = "xyxy",
    unit: str = "pixel",
    cancellation: Cancellation = NEVER,
) -> Segmentation:
    """Masks of what is pointed at, as new regions, without specks: pieces below a tenth of a mask's largest piece.

    segmenter: what `load_segmenter` returns, or a live SamPredictor of segment-anything.
    regions, boxes: one mask for each; a mask of a region takes over its label and names it as its parent.
    points: (x, y), or (x, y, 1) inside and (x, y, 0) outside the thing, in pixels; all of them, with the one box and the mask
        where they are given too, point at ONE thing.
    mask: a rough mask of the thing, (H, W).  several: keep the three masks that the model offers, not only the best.
    format, unit: of boxes that are four numbers.  cancellation: ends the work between two masks; nothing is then added.
    Errors: PointInvalid, MaskInvalid, UnknownRegion, UnknownImage, InvalidSetting, those of `Box.parse`, ModelOutputInvalid.
    """
    chosen = workspace.pick(regions)
    seen = workspace.image(image if image is not None or not chosen else chosen[0].image)
    placed = [workspace.seen_in(region, seen) for region in chosen]
    given = parse_regions(boxes, size_wh=seen.size_wh, format=format, unit=unit, max_regions=MAX_PROMPTS)
    prompts = _prompts([*placed, *given], _points(points, seen), _mask(mask, seen))
    finder = as_segmenter(segmenter)
    with failures_of("the segmenter"):
        found = masks_of(finder, seen.image, prompts, cancellation, several=several)
        notes = list(dict.fromkeys((*seen.image.notes, *finder.notes(seen.image))))
    items = []
    for number, masks in enumerate(found):
        origin = chosen[number] if number < len(chosen) else None
        useful = _cleaned([each for each in masks if _usable(each, seen)], cancellation)
        if not useful:
            notes.append(f"no mask for {origin.name if origin else _described(prompts[number])}")
        items += [_item(each, origin, _described(prompts[number])) for each in useful]
    return Segmentation(seen.name, workspace.add_regions(items, image=seen, source="segment"), tuple(notes))


def point_at(
    workspace: Workspace,
    points: object,
    *,
    segmenter: object,
    image: ImageName = None,
    cancellation: Cancellation = NEVER,
) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """A region for each point: what lies there, as the segmenter sees it, with its mask; and notes on the image.

    points: (x, y) in pixels, each on a thing of its own.  segmenter, image, cancellation: as in `segment`.
    Errors: those of `segment`, and PointInvalid where nothing is found at a point; then no region is added.
    """
    seen = workspace.image(image)
    given = _points(points, seen)
    finder = as_segmenter(segmenter)
    with failures_of("the segmenter"):
        found = masks_of(finder, seen.image, [Prompt(points=(point,)) for point in given], cancellation) if given else []
        notes = tuple(finder.notes(seen.image)) if given else ()
    items = []
    for (x, y, _), masks in zip(given, found, strict=True):
        useful = _cleaned([each for each in masks if _usable(each, seen)], cancellation)
        if not useful:
            raise PointInvalid(f"nothing is found at {x:g},{y:g}", do="point at the middle of a thing, or give a box")
        items.append(_item(useful[0], None, f"point {x:g},{y:g}"))
    return workspace.add_regions(items, image=seen, source="segment"), notes


def segment_everything(
    workspace: Workspace,
    *,
    segmenter: object,
    image: ImageName = None,
    points_per_side: int = 16,
    min_score: float = 0.8,
    min_stability: float = 0.85,
    max_regions: int = MAX_REGIONS,
    cancellation: Cancellation = NEVER,
) -> Segmentation:
    """Masks of everything that a grid of points meets, the surest first, without specks.

    points_per_side: points of the grid along the longer side.  min_score: least IoU that the model expects of a mask.
    min_stability: least IoU of the masks at a threshold a little higher and lower.  max_regions: kept at most.
    cancellation: as in `segment`.
    Errors: UnknownImage, InvalidSetting, ModelOutputInvalid.
    """
    for what, value, top in (("points_per_side", points_per_side, MAX_POINTS_PER_SIDE), ("max_regions", max_regions, 9999)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= top:
            raise InvalidSetting(f"{what} is {escaped(value)}", do=f"give 1 to {top}")
    for what, share in (("min_score", min_score), ("min_stability", min_stability)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise InvalidSetting(f"{what} is {escaped(share)}", do="give 0 to 1")
    seen = workspace.image(image)
    prompts = [Prompt(points=((x, y, True),)) for x, y in _grid(seen.size_wh, points_per_side)]
    finder = as_segmenter(segmenter)
    with failures_of("the segmenter"):
        found = masks_of(finder, seen.image, prompts, cancellation, several=True, min_score=min_score)
        notes = list(dict.fromkeys((*seen.image.notes, *finder.notes(seen.image))))
    useful = [each for masks in found for each in masks if _usable(each, seen) and each.stability >= min_stability]
    kept = _without_doubles(_cleaned(_without_doubles(useful, cancellation), cancellation), cancellation)
    if len(kept) > max_regions:
        notes.append(f"{len(kept) - max_regions} more were left out: at most {max_regions} are kept")
    items = [_item(each, None, "everything") for each in kept[:max_regions]]
    return Segmentation(seen.name, workspace.add_regions(items, image=seen, source="segment"), tuple(notes))


def _prompts(regions: Sequence[Region], points: tuple[tuple[float, float, bool], ...], mask: Mask | None) -> list[Prompt]:
    if len(regions) > MAX_PROMPTS:
        raise InvalidSetting(f"{len(regions)} boxes", do=f"give at most {MAX_PROMPTS} at once")
    if not points and mask is None:
        if not regions:
            raise InvalidSetting("nothing is pointed at", do="give points, boxes, regions or a mask")
        return [Prompt(box=region.box) for region in regions]
    if len(regions) > 1:
        problem = f"{len(regions)} boxes together with points or a mask"
        raise InvalidSetting(problem, do="points and a mask point at one thing: give one box at most")
    return [Prompt(points, regions[0].box if regions else None, mask)]


def _points(points: object, image: WorkspaceImage) -> tuple[tuple[float, float, bool], ...]:
    """Every point as (x, y, inside), checked against the image."""
    if hasattr(points, "tolist"):
        points = points.tolist()
    if not isinstance(points, Sequence) or isinstance(points, str | bytes) or len(points) > MAX_POINTS:
        raise PointInvalid(f"the points are {escaped(points)}", do=f"give a list of at most {MAX_POINTS} points (x, y)")
    width, height = image.size_wh
    checked = []
    for point in points:
        values = point.tolist() if hasattr(point, "tolist") else point
        if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) not in (2, 3):
            raise PointInvalid(f"a point is given as {escaped(values)}", do="give (x, y), or (x, y, 0) for a point outside")
        if not all(_is_number(value) for value in values[:2]):
            raise PointInvalid(f"the point {escaped(values)} is not two finite numbers", do="give pixels")
        if len(values) == 3 and values[2] not in (0, 1):
            raise PointInvalid(f"the point {escaped(values)} is marked {escaped(values[2])}", do="mark it 1 inside, 0 outside")
        if not (0 <= values[0] <= width and 0 <= values[1] <= height):
            raise PointInvalid(
                f"the point {escaped(list(values[:2]))} lies outside the image", do=f"stay within {width} x {height} pixels"
            )
        checked.append((float(values[0]), float(values[1]), len(values) == 2 or bool(values[2])))
    if checked and not any(inside for *_, inside in checked):
        raise PointInvalid("every point is marked as outside", do="give at least one point inside the thing")
    return tuple(checked)


def _is_number(value: Any) -> bool:
    """Whether it is finite and of use; compared and not converted, since a whole number may be too large for a float."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(-_FAR < value < _FAR)  # type: ignore[operator]


def _mask(mask: object, image: WorkspaceImage) -> Mask | None:
    if mask is None:
        return None
    return parse_regions([{"mask": mask}], size_wh=image.size_wh)[0].mask


def _item(found: ScoredMask, origin: Region | None, prompt: str) -> dict[str, Any]:
    item: dict[str, Any] = {"mask": found.mask, "score": min(max(found.score, 0.0), 1.0), "prompt": prompt}
    return item | ({"label": origin.label, "parent": origin.name} if origin else {})


def _usable(found: ScoredMask, image: WorkspaceImage) -> bool:
    if not math.isfinite(found.score) or not math.isfinite(found.stability):
        raise ModelOutputInvalid(f"the segmenter gave a score that is not finite in {image.name}", do="use other weights or fp32")
    return found.mask is not None


def _cleaned(found: Sequence[ScoredMask], cancellation: Cancellation) -> list[ScoredMask]:
    """Masks without specks."""
    cleaned = []
    for each in found:
        cancellation.check("segmenting")
        cleaned.append(_without_specks(each))
    return cleaned


def _without_specks(found: ScoredMask) -> ScoredMask:
    assert found.mask is not None
    array, box = found.mask.to_array(), found.mask.box
    within = slice(int(box.y1), int(box.y2)), slice(int(box.x1), int(box.x2))
    pieces, number = ndimage.label(array[within], structure=np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=number + 1)[1:]
    if number == 1 or areas.min() >= _SPECK * areas.max():
        return found
    array[within] = np.concatenate(([False], areas >= _SPECK * areas.max()))[pieces]
    return replace(found, mask=Mask.from_array(array))


def _described(prompt: Prompt) -> str:
    parts = [f"point {x:g},{y:g}" + ("" if inside else " outside") for x, y, inside in prompt.points]
    parts += [f"box {','.join(f'{value:g}' for value in prompt.box.xyxy)}"] if prompt.box else []
    return "; ".join([*parts, *(["a mask"] if prompt.mask else [])])


def _grid(size_wh: tuple[int, int], per_side: int) -> list[tuple[float, float]]:
    """Points in the middle of equal cells, as near to squares as whole numbers allow."""
    longer = max(size_wh)
    columns, rows = (max(1, round(per_side * side / longer)) for side in size_wh)
    xs, ys = (np.arange(columns) + 0.5) * size_wh[0] / columns, (np.arange(rows) + 0.5) * size_wh[1] / rows
    return [(float(x), float(y)) for y in ys for x in xs]


def _without_doubles(found: Sequence[ScoredMask], cancellation: Cancellation) -> list[ScoredMask]:
    """The best of those whose boxes are nearly the same, best first."""
    if not found:
        return []
    corners = []
    for each in found:
        cancellation.check("segmenting")  # the tight box of a large mask takes time
        corners.append(_box(each).xyxy)
    boxes = torch.tensor(corners)
    kept = nms(boxes, torch.tensor([each.score for each in found]), _DOUBLE)
    return [found[index] for index in kept.tolist()]


def _box(found: ScoredMask) -> Box:
    assert found.mask is not None
    return found.mask.box
