"""Regions before they get their handles: parsed without names, and matched with earlier finds."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.tools.measure import relate

MAX_NAMES = 9999  # images, and regions, of one workspace


def parse_new_regions(
    regions: object, *, size_wh: tuple[int, int], format: str = "xyxy", unit: str = "pixel"
) -> tuple[Region, ...]:
    """Parse regions without names for `Workspace.keep_regions`; see `parse_regions`.

    Errors: InvalidSetting for a mapping with a name, and those of `parse_regions`.
    """
    if isinstance(regions, list | tuple):
        check_unnamed(regions)
        regions = [replace(item, name=f"region{i}") if isinstance(item, Region) else item for i, item in enumerate(regions, 1)]
    return parse_regions(regions, size_wh=size_wh, format=format, unit=unit, max_regions=MAX_NAMES)


def check_unnamed(items: Iterable[object]) -> None:
    """Check that new regions bring no names.  Error: InvalidSetting."""
    if any(isinstance(item, Mapping) and item.get("name") for item in items):
        raise InvalidSetting("a new region has a name", do="leave the name out: the workspace assigns it")


def earlier_find(region: Region, known: Iterable[Region], iou: float) -> Region | None:
    """Return the earlier region that shows the same thing, found by the same tool with the same label."""
    alike = [each for each in known if (each.image, each.label, each.source) == (region.image, region.label, region.source)]
    alike = [each for each in alike if each.mask or not region.mask]  # do not lose a new mask
    return next((each for each in alike if relate(each, region).iou >= iou), None)
