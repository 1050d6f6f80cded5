"""What each tool of the toolbox does: from checked arguments to a reply.

A reply is a short text that names handles; regions, data and a picture come with it.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from roi_agent.model.domain.verdict import limit_of
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.tools import arguments as schemas
from roi_agent.tools.ask import ask, ask_each, choose
from roi_agent.tools.detect import detect
from roi_agent.tools.measure import NEARNESS, count_by_label, in_order, nearest, placed, relate, related
from roi_agent.tools.segment import segment, segment_everything
from roi_agent.tools.view import View, overview, zoom
from roi_agent.tools.workspace import Workspace

if TYPE_CHECKING:
    from roi_agent.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class ToolReply:
    """What a tool gives.

    text: for the planner.  regions: that the text is about.  data: the result in full, plain JSON values.
    picture: RGB.  error: the code of what went wrong, else none; the workspace is then as it was.
    """

    text: str
    regions: tuple[Region, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    picture: Image.Image | None = None
    error: str | None = None

    def to_json(self) -> str:
        """Text, regions and data as JSON, for planners that are sent text alone; masks are left out for their length."""
        regions = [{key: value for key, value in region.to_dict().items() if key != "mask"} for region in self.regions]
        told: dict[str, Any] = {"text": self.text, "regions": regions, "data": _without_regions(self.data)}
        return json.dumps({**told, **({"error": self.error} if self.error else {})}, ensure_ascii=False)

    def artifact(self) -> dict[str, Any]:
        """Plain JSON values, the picture as a PNG in base64."""
        picture = {"picture": {"mime_type": "image/png", "base64": png_base64(self.picture)}} if self.picture else {}
        return {"regions": [region.to_dict() for region in self.regions], "data": dict(self.data), **picture}


def _find(box: "Toolbox", given: schemas.FindArguments, cancellation: Cancellation = NEVER) -> ToolReply:
    options: dict[str, Any] = {"image": given.image, "threshold": given.threshold, "cancellation": cancellation}
    with box.models.use("detect") as detector:
        found = detect(box.workspace, given.phrases, detector=detector, **options)
    return ToolReply(found.sentence(), found.regions, found.to_dict() | _limit(detector))


def _segment(box: "Toolbox", given: schemas.SegmentArguments, cancellation: Cancellation = NEVER) -> ToolReply:
    points = [(*point, 1) for point in given.points] + [(*point, 0) for point in given.outside]
    options: dict[str, Any] = {"regions": given.regions, "boxes": given.boxes, "points": points, "cancellation": cancellation}
    with box.models.use("segment") as segmenter:
        found = segment(box.workspace, segmenter=segmenter, image=given.image, **options)
    return ToolReply(found.sentence(), found.regions, found.to_dict())


def _everything(box: "Toolbox", given: schemas.EverythingArguments, cancellation: Cancellation = NEVER) -> ToolReply:
    with box.models.use("segment") as segmenter:
        found = segment_everything(box.workspace, segmenter=segmenter, image=given.image, cancellation=cancellation)
    return ToolReply(found.sentence(), found.regions, found.to_dict())


def _add(box: "Toolbox", given: schemas.AddArguments) -> ToolReply:
    item = {"box": given.box, "label": given.label}
    regions = box.workspace.add_regions([item], image=given.image, source="planner")
    return ToolReply(_listing(regions), regions)


def _list(box: "Toolbox", given: schemas.ListArguments) -> ToolReply:
    regions = box.workspace.regions(given.image)
    sizes = [f"{image.name} ({image.size_wh[0]} x {image.size_wh[1]} pixels)" for image in box.workspace.images]
    text = f"images: {', '.join(sizes) or 'none'}\nregions: {_listing(regions) or 'none'}"
    images = [
        {"name": image.name, "width": image.size_wh[0], "height": image.size_wh[1], "parent": image.parent}
        for image in box.workspace.images
    ]
    return ToolReply(text, regions, {"images": images})


def _ask(box: "Toolbox", given: schemas.AskArguments, cancellation: Cancellation = NEVER) -> ToolReply:
    with box.models.use("ask") as model:
        asked = ask(
            box.workspace,
            given.question,
            model=model,
            image=given.image,
            regions=given.regions,
            second_look="always" if given.closer else box.second_look,
            cancellation=cancellation,
        )
    return ToolReply(asked.sentence(), asked.regions, asked.to_dict() | _limit(model))


def _ask_each(box: "Toolbox", given: schemas.AskEachArguments, cancellation: Cancellation = NEVER) -> ToolReply:
    with box.models.use("ask") as model:
        options: dict[str, Any] = {"image": given.image, "cancellation": cancellation}
        asked = ask_each(box.workspace, given.question, given.regions, model=model, **options)
    shared = [note for note in asked[0].notes if all(note in each.notes for each in asked)] if len(asked) > 1 else []
    lines = [f"{each.regions[0].name}: {each.sentence(without=shared)}" for each in asked]
    answers = [each.to_dict() | _limit(model) for each in asked]
    regions = tuple(each.regions[0] for each in asked)
    return ToolReply("\n".join([*lines, *(f"of all: {note}" for note in shared)]), regions, {"answers": answers})


def _choose(box: "Toolbox", given: schemas.ChooseArguments, cancellation: Cancellation = NEVER) -> ToolReply:
    with box.models.use("ask") as model:
        options: dict[str, Any] = {"image": given.image, "regions": given.regions, "cancellation": cancellation}
        chosen = choose(box.workspace, given.question, given.options, model=model, **options)
    text = "; ".join([f"{chosen.text} (confidence {chosen.confidence:.2f})", *chosen.notes])
    return ToolReply(text, chosen.regions, chosen.to_dict())


def _compare(box: "Toolbox", given: schemas.CompareArguments) -> ToolReply:
    first, second = box.workspace.pick([given.first, given.second])
    relation = relate(first, second)
    return ToolReply(relation.sentence(), (first, second), relation.to_dict())


def _order(box: "Toolbox", given: schemas.OrderArguments) -> ToolReply:
    regions = _chosen(box.workspace, given)
    if (given.to is None) == (given.order in NEARNESS):
        raise InvalidSetting(f"the order {given.order!r} and `to` do not fit", do=f"`to` belongs to {' and '.join(NEARNESS)}")
    if given.to is None:
        ordered = in_order(regions, given.order)
    else:
        ordered = nearest(box.workspace.region(given.to), regions)[:: -1 if given.order == "farthest first" else 1]
    said = given.order if given.to is None else f"{given.order}, between centres"
    return ToolReply(f"{said}: {_listing(ordered) or 'no regions'}", ordered, {"order": [each.name for each in ordered]})


def _select(box: "Toolbox", given: schemas.SelectArguments) -> ToolReply:
    if (given.relation is None) != (given.to is None) or (given.relation is None and given.place is None):
        raise InvalidSetting("neither a relation to a region nor a place is given", do="give `relation` and `to`, or `place`")
    regions = _chosen(box.workspace, given)
    said = []
    if given.relation is not None and given.to is not None:
        to = box.workspace.region(given.to)
        regions = related([region for region in regions if region.image == to.image], given.relation, to)
        said.append(f"{given.relation} {to.name}")
    if given.place is not None:
        sizes = {image.name: image.size_wh for image in box.workspace.images}
        regions = tuple(region for region in regions if placed([region], given.place, sizes[str(region.image)]))
        said.append(f"in the {given.place}")
    return ToolReply(
        f"{' and '.join(said)}: {_listing(regions) or 'none'}", regions, {"selected": [each.name for each in regions]}
    )


def _chosen(workspace: Workspace, given: schemas.OrderArguments | schemas.SelectArguments) -> tuple[Region, ...]:
    return workspace.regions(workspace.image(given.image)) if given.regions is None else workspace.pick(given.regions)


def _count(box: "Toolbox", given: schemas.CountArguments) -> ToolReply:
    regions = box.workspace.regions(box.workspace.image(given.image))
    counts = count_by_label(regions)
    said = ", ".join(f"{count} {label or 'without a label'}" for label, count in counts.items())
    return ToolReply(
        f"{len(regions)} region{'s' if len(regions) != 1 else ''}" + (f": {said}" if said else ""), regions, {"counts": counts}
    )


def _look(box: "Toolbox", given: schemas.LookArguments) -> ToolReply:
    view = overview(box.workspace, image=given.image, regions=given.regions)
    return _seen(view, f"{view.image.name}, {_size(view)}, with {_listing(view.regions) or 'no regions'}")


def _zoom(box: "Toolbox", given: schemas.ZoomArguments) -> ToolReply:
    view = zoom(box.workspace, given.region.strip("<>"), margin=given.margin)
    return _seen(view, f"{view.image.name} is the part of {view.image.parent} around {view.image.region}, {_size(view)}")


def _limit(model: object) -> dict[str, Any]:
    """The only kind of images that a model knows, such as nano the toy world: it must not overrule one that knows more."""
    return {"knows": limit_of(model)}


# Those of the groups detect, segment and ask, whose work may take long, also take a cancellation.
ABILITIES: dict[str, tuple[type[schemas.Arguments], Callable[..., ToolReply]]] = {
    "find_regions": (schemas.FindArguments, _find),
    "segment_regions": (schemas.SegmentArguments, _segment),
    "segment_everything": (schemas.EverythingArguments, _everything),
    "add_region": (schemas.AddArguments, _add),
    "list_regions": (schemas.ListArguments, _list),
    "ask_about_regions": (schemas.AskArguments, _ask),
    "ask_each_region": (schemas.AskEachArguments, _ask_each),
    "choose_answer": (schemas.ChooseArguments, _choose),
    "compare_regions": (schemas.CompareArguments, _compare),
    "order_regions": (schemas.OrderArguments, _order),
    "select_regions": (schemas.SelectArguments, _select),
    "count_regions": (schemas.CountArguments, _count),
    "look_at_image": (schemas.LookArguments, _look),
    "zoom_in": (schemas.ZoomArguments, _zoom),
}


GROUPS: dict[str, tuple[str, ...]] = {
    "detect": ("find_regions",),
    "segment": ("segment_regions", "segment_everything"),
    "ask": ("ask_about_regions", "ask_each_region", "choose_answer"),
    "measure": ("compare_regions", "order_regions", "select_regions", "count_regions"),
    "view": ("look_at_image", "zoom_in"),
    "list": ("list_regions", "add_region"),
}


def _seen(view: View, text: str) -> ToolReply:
    return ToolReply(text, view.regions, {"image": view.image.name}, view.picture)


def _size(view: View) -> str:
    return f"{view.image.size_wh[0]} x {view.image.size_wh[1]} pixels"


def _listing(regions: tuple[Region, ...]) -> str:
    return "; ".join(_described(region) for region in regions)


def _described(region: Region) -> str:
    """For example: region3 (red star) in image1 at 10,20,110,140."""
    label = f" ({region.label})" if region.label else ""
    return f"{region.name}{label} in {region.image} at {','.join(f'{value:.0f}' for value in region.box.xyxy)}"


def _without_regions(value: Any) -> Any:
    """Data without the regions that stand beside it."""
    if isinstance(value, Mapping):
        return {key: _without_regions(each) for key, each in value.items() if key != "regions"}
    return [_without_regions(each) for each in value] if isinstance(value, list) else value


def png_base64(picture: Image.Image) -> str:
    """The picture as a PNG, in base64."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()
