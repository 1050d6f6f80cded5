"""Pictures for people and for planners that see: an image with its regions, and enlarged parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.crops import lies_in
from roi_agent.tools.drawing import MIN_SIDE, colour, contact_sheet, draw_masks, draw_regions
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import ImageName, RegionName, Workspace

__all__ = ["View", "colour", "contact_sheet", "draw_masks", "draw_regions", "overview", "zoom"]

_MAX_SIDE = 4096  # pixels of an enlarged part
_SHOWN_SIDE = 768  # in a notebook, at most


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture to look at, mode RGB; the image of the workspace that it shows; and the regions drawn on it."""

    picture: Image.Image
    image: WorkspaceImage
    regions: tuple[Region, ...]

    def _repr_png_(self) -> bytes:
        from roi_agent.model.utils.notebook_html import png

        return png(self.picture, _SHOWN_SIDE)


def overview(workspace: Workspace, *, image: ImageName = None, regions: Sequence[RegionName] | None = None) -> View:
    """An image with its regions drawn and named, all of them or those given.  Errors: UnknownImage, UnknownRegion."""
    if regions and image is None:
        image = workspace.region(regions[0]).image
    seen = workspace.image(image)
    chosen = workspace.regions(seen) if regions is None else workspace.pick(regions)
    if elsewhere := [each for each in chosen if each.image != (seen.parent or seen.name)]:
        problem = f"{elsewhere[0].name} lies in {elsewhere[0].image}, not in {seen.name}"
        raise InvalidSetting(problem, do="name regions of one image")
    placed = tuple(each for region in chosen if (each := _seen_in(workspace, region, seen)) is not None)
    return View(draw_regions(seen.pixels, placed), seen, placed)


def zoom(
    workspace: Workspace,
    place: object,
    *,
    image: ImageName = None,
    margin: float = 0.25,
    side: int = MIN_SIDE,
    keep: bool = True,
) -> View:
    """A part of an image, enlarged.

    place: a region or its handle, or a box of `image`.  margin: of the surroundings, as a share of the longer side.
    side: pixels of the picture's longer side at least; it is enlarged by a whole factor and never made smaller.
    keep: whether the part becomes an image of the workspace, with a handle of its own.
    Errors: UnknownRegion, UnknownImage, InvalidSetting, and those of `Box.parse`.
    """
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= _MAX_SIDE:
        raise InvalidSetting(f"the side is {escaped(side)}", do=f"give 1 to {_MAX_SIDE} pixels")
    crop = (workspace.add_crop if keep else workspace.cut)(place, image=image, margin=margin)
    factor = max(1, min(-(-side // max(crop.size_wh)), _MAX_SIDE // max(crop.size_wh)))
    picture = crop.pixels.resize((crop.pixels.width * factor, crop.pixels.height * factor), Image.Resampling.LANCZOS)
    return View(picture, crop, ())


def _seen_in(workspace: Workspace, region: Region, seen: WorkspaceImage) -> Region | None:
    """The region in pixels of the image that is looked at; None where a crop does not hold it whole."""
    return workspace.seen_in(region, seen) if lies_in(region.box, seen.box) else None
