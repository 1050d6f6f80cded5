"""Tools that measure regions exactly, from their boxes and masks."""

from typing import Literal

from pydantic import Field

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region
from roi_agent.tools.ability import Ability, Context
from roi_agent.tools.arguments import Arguments, ImageHandle, RegionHandle, RegionHandles
from roi_agent.tools.measure import (
    NEARNESS,
    ORDERS,
    PLACES,
    RELATIONS,
    count_by_label,
    in_order,
    nearest,
    placed,
    relate,
    related,
)
from roi_agent.tools.reply import ToolReply, listing
from roi_agent.tools.workspace import Workspace


class CompareArguments(Arguments):
    """Arguments of compare_regions."""

    first: RegionHandle
    second: RegionHandle


def _compare(context: Context, given: CompareArguments) -> ToolReply:
    first, second = context.workspace.pick([given.first, given.second])
    relation = relate(first, second)
    return ToolReply(relation.sentence(), (first, second), relation)


COMPARE_REGIONS = Ability(
    "compare_regions",
    "Measure how one region lies to another: left, right, above, below, inside, overlap, the gap between their "
    "edges and the distance between their centres, and which is larger. Exact, computed from the boxes or masks.",
    CompareArguments,
    _compare,
    group="measure",
)


class OrderArguments(Arguments):
    """Arguments of order_regions."""

    order: Literal[(*ORDERS, *NEARNESS)] = Field(  # type: ignore[valid-type]
        description="The order; the first of the result is the leftmost, the topmost, the nearest, ..."
    )
    regions: RegionHandles | None = Field(default=None, description="All regions of the image where left out.")
    to: RegionHandle | None = Field(default=None, description='For "nearest first" and "farthest first": from which region.')
    image: ImageHandle


def _order(context: Context, given: OrderArguments) -> ToolReply:
    regions = _regions_of(context.workspace, given)
    if (given.to is None) == (given.order in NEARNESS):
        raise InvalidSetting(f"the order {given.order!r} and `to` do not match", do=f"`to` belongs to {' and '.join(NEARNESS)}")
    if given.to is None:
        ordered = in_order(regions, given.order)
    else:
        ordered = nearest(context.workspace.region(given.to), regions)[:: -1 if given.order == "farthest first" else 1]
    description = given.order if given.to is None else f"{given.order}, between centres"
    return ToolReply(f"{description}: {listing(ordered) or 'no regions'}", ordered, {"order": [each.name for each in ordered]})


ORDER_REGIONS = Ability(
    "order_regions",
    "Sort regions from left to right, from top to bottom, by size, or the other way round; or by how near their "
    "centres are to that of another region. The first of the reply is the leftmost, the topmost, the smallest, "
    "the nearest, and so on. Exact.",
    OrderArguments,
    _order,
    group="measure",
)


class SelectArguments(Arguments):
    """Arguments of select_regions."""

    regions: RegionHandles | None = Field(default=None, description="All regions of the image where left out.")
    relation: Literal[tuple(RELATIONS)] | None = Field(default=None, description="How they lie to the region of `to`.")  # type: ignore[valid-type]
    to: RegionHandle | None = Field(default=None, description="The region that the relation is to.")
    place: Literal[PLACES] | None = Field(default=None, description="The part of the image that their centres lie in.")  # type: ignore[valid-type]
    image: ImageHandle


def _select(context: Context, given: SelectArguments) -> ToolReply:
    if (given.relation is None) != (given.to is None) or (given.relation is None and given.place is None):
        raise InvalidSetting("neither a relation to a region nor a place is given", do="give `relation` and `to`, or `place`")
    regions = _regions_of(context.workspace, given)
    conditions = []
    if given.relation is not None and given.to is not None:
        to = context.workspace.region(given.to)
        regions = related([region for region in regions if region.image == to.image], given.relation, to)
        conditions.append(f"{given.relation} {to.name}")
    if given.place is not None:
        sizes = {image.name: image.size_wh for image in context.workspace.images}
        regions = tuple(region for region in regions if placed([region], given.place, sizes[str(region.image)]))
        conditions.append(f"in the {given.place}")
    return ToolReply(
        f"{' and '.join(conditions)}: {listing(regions) or 'none'}", regions, {"selected": [each.name for each in regions]}
    )


SELECT_REGIONS = Ability(
    "select_regions",
    "Those of the regions that lie left of, right of, above, below, inside or around another region, touch it, or"
    ' are larger or smaller; or that lie in a part of the image. Exact. Use it for "which of them ..." in place '
    "of many compare_regions.",
    SelectArguments,
    _select,
    group="measure",
)


class CountArguments(Arguments):
    """Arguments of count_regions."""

    image: ImageHandle


def _count(context: Context, given: CountArguments) -> ToolReply:
    regions = context.workspace.regions(context.workspace.image(given.image))
    counts = count_by_label(regions)
    labels = ", ".join(f"{count} {label or 'without a label'}" for label, count in counts.items())
    return ToolReply(
        f"{len(regions)} region{'s' if len(regions) != 1 else ''}" + (f": {labels}" if labels else ""),
        regions,
        {"counts": counts},
    )


COUNT_REGIONS = Ability(
    "count_regions",
    "Count the regions of an image by their labels. It counts regions that were found before, not things in the "
    "picture: find_regions first.",
    CountArguments,
    _count,
    group="measure",
)


def _regions_of(workspace: Workspace, given: OrderArguments | SelectArguments) -> tuple[Region, ...]:
    return workspace.regions(workspace.image(given.image)) if given.regions is None else workspace.pick(given.regions)
