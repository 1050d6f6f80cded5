"""Every ability as a tool for planners: LangChain tools, OpenAI function schemas, or a call by name, over one workspace.

A tool answers with a short text that names handles; regions and pictures travel beside it as an artifact. What goes wrong
comes back as a text too, which says what was given and what there is, so that a planner can mend it.
"""

import base64
import io
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from PIL import Image
from pydantic import ValidationError

from roi_agent.model.errors import InvalidSetting, RoiAgentError
from roi_agent.model.regions import Region
from roi_agent.prompts import load_blocks
from roi_agent.tools import arguments as schemas
from roi_agent.tools.ask import ask, ask_each, choose
from roi_agent.tools.detect import detect
from roi_agent.tools.measure import count_by_label, in_order, relate
from roi_agent.tools.models import Models
from roi_agent.tools.segment import segment, segment_everything
from roi_agent.tools.view import View, overview, zoom
from roi_agent.tools.workspace import Workspace

_log = logging.getLogger(__name__)


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

    def artifact(self) -> dict[str, Any]:
        """Plain JSON values, the picture as a PNG in base64."""
        picture = {"picture": {"mime_type": "image/png", "base64": _base64(self.picture)}} if self.picture else {}
        return {"regions": [region.to_dict() for region in self.regions], "data": dict(self.data), **picture}


class Toolbox:
    """The tools over one workspace.

    pictures: whether a tool that makes a picture also shows it to the planner, for planners that can see.
    """

    def __init__(self, workspace: Workspace, models: Models, *, pictures: bool = False) -> None:
        self.workspace, self.models, self.pictures = workspace, models, pictures
        texts = load_blocks("tools")
        self._tools = {name: _Tool(name, texts[name], schema, run) for name, (schema, run) in _TOOLS.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools."""
        return tuple(self._tools)

    def tools(self) -> list[BaseTool]:
        """LangChain tools with content and artifact; bad arguments and failures are messages with status "error"."""
        return [self._langchain(tool) for tool in self._tools.values()]

    def openai_tools(self) -> list[dict[str, Any]]:
        """The same tools as OpenAI function schemas; `call` runs what a model answers."""
        return [convert_to_openai_tool(tool) for tool in self.tools()]

    def call(self, name: str, arguments: Mapping[str, Any] | str) -> ToolReply:
        """Run one tool.  arguments: a mapping, or its JSON as a model writes it.  Never raises: see `ToolReply.error`."""
        try:
            if name not in self._tools:
                raise InvalidSetting(f"there is no tool {name!r}", do=f"use {', '.join(self._tools)}")
            given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
            if not isinstance(given, Mapping):
                raise InvalidSetting(f"the arguments are a {type(given).__name__}", do="give an object")
            tool = self._tools[name]
            return tool.run(self, tool.schema.model_validate(dict(given)))
        except json.JSONDecodeError as error:
            return ToolReply(f"invalid_arguments: no JSON: {error.msg} at sign {error.pos}", error="invalid_arguments")
        except ValidationError as error:
            return ToolReply(_explained(error), error="invalid_arguments")
        except RoiAgentError as error:
            return ToolReply(str(error), error=error.code)
        except Exception:  # a planner must be able to go on whatever a model or a user's function does
            _log.exception("the tool %s failed", name)
            return ToolReply(f"internal_error: {name} failed; try other arguments or another tool", error="internal_error")

    def _langchain(self, tool: "_Tool") -> BaseTool:
        def run(**given: Any) -> tuple[Any, dict[str, Any]]:
            reply = self.call(tool.name, given)
            if reply.error:
                raise ToolException(reply.text)
            return self._content(reply), reply.artifact()

        return StructuredTool.from_function(
            run,
            name=tool.name,
            description=tool.description,
            args_schema=tool.schema,
            response_format="content_and_artifact",
            handle_tool_error=True,
            handle_validation_error=_explained,
        )

    def _content(self, reply: ToolReply) -> Any:
        if reply.picture is None or not self.pictures:
            return reply.text
        shown = {"type": "image", "base64": _base64(reply.picture), "mime_type": "image/png"}
        return [{"type": "text", "text": reply.text}, shown]


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    description: str
    schema: type[schemas.Arguments]
    run: Callable[[Toolbox, Any], ToolReply]


def _find(box: Toolbox, given: schemas.FindArguments) -> ToolReply:
    with box.models.use("detect") as detector:
        found = detect(box.workspace, given.phrases, detector=detector, image=given.image, threshold=given.threshold)
    return ToolReply(found.sentence(), found.regions, found.to_dict())


def _segment(box: Toolbox, given: schemas.SegmentArguments) -> ToolReply:
    points = [(*point, 1) for point in given.points] + [(*point, 0) for point in given.outside]
    with box.models.use("segment") as segmenter:
        found = segment(
            box.workspace, segmenter=segmenter, image=given.image, regions=given.regions, boxes=given.boxes, points=points
        )
    return ToolReply(found.sentence(), found.regions, found.to_dict())


def _everything(box: Toolbox, given: schemas.EverythingArguments) -> ToolReply:
    with box.models.use("segment") as segmenter:
        found = segment_everything(box.workspace, segmenter=segmenter, image=given.image)
    return ToolReply(found.sentence(), found.regions, found.to_dict())


def _add(box: Toolbox, given: schemas.AddArguments) -> ToolReply:
    item = {"box": given.box, "label": given.label}
    regions = box.workspace.add_regions([item], image=given.image, source="planner")
    return ToolReply(_listing(regions), regions)


def _list(box: Toolbox, given: schemas.ListArguments) -> ToolReply:
    regions = box.workspace.regions(given.image)
    sizes = [f"{image.name} ({image.size_wh[0]} x {image.size_wh[1]} pixels)" for image in box.workspace.images]
    text = f"images: {', '.join(sizes) or 'none'}\nregions: {_listing(regions) or 'none'}"
    return ToolReply(text, regions, {"images": sizes})


def _ask(box: Toolbox, given: schemas.AskArguments) -> ToolReply:
    with box.models.use("ask") as model:
        asked = ask(box.workspace, given.question, model=model, image=given.image, regions=given.regions)
    return ToolReply(asked.sentence(), asked.regions, asked.to_dict())


def _ask_each(box: Toolbox, given: schemas.AskEachArguments) -> ToolReply:
    with box.models.use("ask") as model:
        asked = ask_each(box.workspace, given.question, given.regions, model=model, image=given.image)
    text = "\n".join(f"{each.regions[0].name}: {each.sentence()}" for each in asked)
    return ToolReply(text, tuple(each.regions[0] for each in asked), {"answers": [each.to_dict() for each in asked]})


def _choose(box: Toolbox, given: schemas.ChooseArguments) -> ToolReply:
    with box.models.use("ask") as model:
        chosen = choose(box.workspace, given.question, given.options, model=model, image=given.image, regions=given.regions)
    text = "; ".join([f"{chosen.text} (confidence {chosen.confidence:.2f})", *chosen.notes])
    return ToolReply(text, chosen.regions, chosen.to_dict())


def _compare(box: Toolbox, given: schemas.CompareArguments) -> ToolReply:
    first, second = box.workspace.pick([given.first, given.second])
    relation = relate(first, second)
    return ToolReply(relation.sentence(), (first, second), relation.to_dict())


def _order(box: Toolbox, given: schemas.OrderArguments) -> ToolReply:
    workspace = box.workspace
    regions = workspace.regions(workspace.image(given.image)) if given.regions is None else workspace.pick(given.regions)
    ordered = in_order(regions, given.order)
    return ToolReply(f"{given.order}: {_listing(ordered) or 'no regions'}", ordered, {"order": [each.name for each in ordered]})


def _count(box: Toolbox, given: schemas.CountArguments) -> ToolReply:
    regions = box.workspace.regions(box.workspace.image(given.image))
    counts = count_by_label(regions)
    said = ", ".join(f"{count} {label or 'without a label'}" for label, count in counts.items())
    return ToolReply(
        f"{len(regions)} region{'s' if len(regions) != 1 else ''}" + (f": {said}" if said else ""), regions, {"counts": counts}
    )


def _look(box: Toolbox, given: schemas.LookArguments) -> ToolReply:
    view = overview(box.workspace, image=given.image, regions=given.regions)
    return _seen(view, f"{view.image.name}, {_size(view)}, with {_listing(view.regions) or 'no regions'}")


def _zoom(box: Toolbox, given: schemas.ZoomArguments) -> ToolReply:
    view = zoom(box.workspace, given.region.strip("<>"), margin=given.margin)
    return _seen(view, f"{view.image.name} is the part of {view.image.parent} around {view.image.region}, {_size(view)}")


_TOOLS: dict[str, tuple[type[schemas.Arguments], Callable[[Toolbox, Any], ToolReply]]] = {
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
    "count_regions": (schemas.CountArguments, _count),
    "look_at_image": (schemas.LookArguments, _look),
    "zoom_in": (schemas.ZoomArguments, _zoom),
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


def _explained(error: Any) -> str:
    """What is wrong with which argument, in one line."""
    faults = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()[:5]]
    return f"invalid_arguments: {'; '.join(faults)}"


def _base64(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()
