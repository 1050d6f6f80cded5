"""Tools that list and add regions of the workspace."""

from pydantic import Field

from roi_agent.tools.ability import Ability, Context
from roi_agent.tools.arguments import Arguments, ImageHandle, PixelBox
from roi_agent.tools.reply import ToolReply, listing


class AddArguments(Arguments):
    """Arguments of add_region."""

    box: PixelBox
    label: str | None = Field(default=None, max_length=200, description="What it shows, if that is known.")
    image: ImageHandle


def _add(context: Context, given: AddArguments) -> ToolReply:
    item = {"box": given.box, "label": given.label}
    regions = context.workspace.add_regions([item], image=given.image, source="planner")
    return ToolReply(listing(regions), regions)


ADD_REGION = Ability(
    "add_region",
    "Make a region of a box that you already know. It gets a handle.",
    AddArguments,
    _add,
    group="list",
    changes=("regions",),
)


class ListArguments(Arguments):
    """Arguments of list_regions."""

    image: ImageHandle


def _list(context: Context, given: ListArguments) -> ToolReply:
    regions = context.workspace.regions(given.image)
    sizes = [f"{image.name} ({image.size_wh[0]} x {image.size_wh[1]} pixels)" for image in context.workspace.images]
    text = f"images: {', '.join(sizes) or 'none'}\nregions: {listing(regions) or 'none'}"
    images = [
        {"name": image.name, "width": image.size_wh[0], "height": image.size_wh[1], "parent": image.parent}
        for image in context.workspace.images
    ]
    return ToolReply(text, regions, {"images": images})


LIST_REGIONS = Ability(
    "list_regions",
    "List the images and all regions so far, with labels and boxes.",
    ListArguments,
    _list,
    group="list",
)
