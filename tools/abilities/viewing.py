"""Tools that show pictures."""

from pydantic import Field

from roi_agent.tools.ability import Ability, Context
from roi_agent.tools.arguments import Arguments, ImageHandle, RegionHandle, RegionHandles
from roi_agent.tools.reply import ToolReply, listing
from roi_agent.tools.view import View, overview, zoom


class LookArguments(Arguments):
    """Arguments of look_at_image."""

    image: ImageHandle
    regions: RegionHandles | None = Field(default=None, description="Only these are drawn; all of the image where left out.")


def _look(context: Context, given: LookArguments) -> ToolReply:
    view = overview(context.workspace, image=given.image, regions=given.regions)
    return _picture_reply(view, f"{view.image.name}, {_size(view)}, with {listing(view.regions) or 'no regions'}")


LOOK_AT_IMAGE = Ability(
    "look_at_image",
    "A picture of an image with its regions drawn and named.",
    LookArguments,
    _look,
    group="view",
)


class ZoomArguments(Arguments):
    """Arguments of zoom_in."""

    region: RegionHandle
    margin: float = Field(default=0.25, ge=0, le=10, description="Surroundings to show, as a share of the region's longer side.")


def _zoom(context: Context, given: ZoomArguments) -> ToolReply:
    view = zoom(context.workspace, given.region.strip("<>"), margin=given.margin)
    return _picture_reply(view, f"{view.image.name} is the part of {view.image.parent} around {view.image.region}, {_size(view)}")


ZOOM_IN = Ability(
    "zoom_in",
    "An enlarged picture of a region and its surroundings. The part gets an image handle of its own, in which "
    "find_regions can look for small things; what is found there belongs to the whole image.",
    ZoomArguments,
    _zoom,
    group="view",
    changes=("images",),
)


def _picture_reply(view: View, text: str) -> ToolReply:
    return ToolReply(text, view.regions, {"image": view.image.name}, view.picture)


def _size(view: View) -> str:
    return f"{view.image.size_wh[0]} x {view.image.size_wh[1]} pixels"
