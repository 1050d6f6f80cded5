"""What a notebook shows of a workspace."""

from collections.abc import Sequence

from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.notebook_html import picture, regions_table, soft, stacked
from roi_agent.tools.drawing import draw_regions
from roi_agent.tools.storage import WorkspaceImage

_SHOWN_IMAGES = 6


def workspace_html(images: Sequence[WorkspaceImage], regions: Sequence[Region]) -> str:
    """The whole images with their regions."""
    whole = [image for image in images if image.parent is None]
    parts: list[str] = [soft(f"{len(whole)} images, {len(regions)} regions")]
    for image in whole[:_SHOWN_IMAGES]:
        here = [region for region in regions if region.image == image.name]
        width, height = image.size_wh
        parts.append(picture(draw_regions(image.pixels, here), image.name))
        parts.append(soft(f"{image.name}: {image.image.source}, {width} x {height} pixels"))
        parts.append(regions_table(here) if here else "")
    left = len(whole) - _SHOWN_IMAGES
    return stacked(*parts, soft(f"... and {left} more images") if left > 0 else "")
