"""The toolbox in MCP's terms: tools with structured results and pictures, images and regions as resources, progress."""

import asyncio
import base64
import io
import json
import re
from collections.abc import Coroutine
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from roi_agent.lanes import Job, Lanes
from roi_agent.loading import introduction
from roi_agent.mcp.workspaces import Workspaces
from roi_agent.model.errors import Cancelled, InvalidSetting, RoiAgentError
from roi_agent.model.utils.cancellation import Cancellation, run_in_thread
from roi_agent.model.utils.messages import escaped
from roi_agent.prompts import load_blocks
from roi_agent.tools.abilities import ABILITIES
from roi_agent.tools.reply import ToolReply, png_base64
from roi_agent.tools.toolbox import Toolbox
from roi_agent.tools.workspace import Workspace

GONE = "roi_agent.gone"  # in the scope of a request over HTTP: an event that is set once its client has gone
_OPEN = "open_image"
_TICK_S = 1.0  # between two notes that a tool is still at work
_RESULT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What the tool says, naming handles."},
        "regions": {"type": "array", "items": {"type": "object"}, "description": "name, box (pixel xyxy), label, score, ..."},
        "data": {"type": "object", "description": "The result in full."},
    },
    "required": ["text", "regions", "data"],
}
_PLACE = re.compile(r"roi://(?:(?P<workspace>ws-[0-9a-f]{24})/)?(?P<kind>images|regions)(?:/(?P<name>\w+))?")

_Context = ServerRequestContext[Any]


def build_server(workspaces: Workspaces, *, version: str, lanes: Lanes | None = None) -> Server[Any]:
    """An MCP server over these workspaces.  lanes: in which detector and segmenter work; by default ones of its own."""
    finding = lanes or Lanes()

    async def list_tools(context: _Context, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_tools(workspaces))

    async def call_tool(context: _Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = dict(params.arguments or {})
        reply = await _with_progress(context, params.name, _in_turn(finding, workspaces, params.name, arguments))
        if not reply.error and _changes(params.name) and workspaces.only is not None:
            await context.session.send_resource_list_changed()
        return _result(reply)

    async def list_resources(context: _Context, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=_resources(workspaces))

    async def list_templates(context: _Context, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=_templates(workspaces))

    async def read_resource(context: _Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return types.ReadResourceResult(contents=[await asyncio.to_thread(_read, workspaces, str(params.uri))])

    return Server(
        "roi-agent",
        version=version,
        instructions="\n".join(filter(None, (load_blocks("mcp")["system"], introduction(workspaces.models)))),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


# ------------------------------------------------------------ tools


def _tools(workspaces: Workspaces) -> list[types.Tool]:
    """The toolbox's own schemas, which are written once; over HTTP each names its workspace too."""
    texts = load_blocks("mcp")
    toolbox = workspaces.only or Toolbox(Workspace(), workspaces.models)
    described = [each["function"] for each in toolbox.openai_tools()]
    image = {"type": "string", "minLength": 1, "description": _source(workspaces).capitalize() + "."}
    opened = {"type": "object", "properties": {"image": image}, "required": ["image"], "additionalProperties": False}
    tools = [_tool(_OPEN, texts[_OPEN].format(source=_source(workspaces)), opened)]
    tools += [_tool(each["name"], each["description"], each["parameters"]) for each in described]
    if workspaces.only is None:
        for tool in tools:
            named = {"type": "string", "description": texts["new_workspace" if tool.name == _OPEN else "workspace"]}
            properties = {**tool.input_schema["properties"], "workspace": named}
            required = list(tool.input_schema.get("required", []))
            wanted = required if tool.name == _OPEN else [*required, "workspace"]
            tool.input_schema = {**tool.input_schema, "properties": properties, "required": wanted}
    return tools


def _source(workspaces: Workspaces) -> str:
    texts = load_blocks("mcp")
    if workspaces.folders is None:
        return texts["any_source"]
    return texts["some_source" if workspaces.folders else "data_source"]


def _tool(name: str, description: str, schema: dict[str, Any]) -> types.Tool:
    reads = not _changes(name)
    hints = types.ToolAnnotations(read_only_hint=reads, destructive_hint=False, idempotent_hint=reads, open_world_hint=False)
    complete = {"type": "object", "properties": {}, **schema}
    return types.Tool(name=name, description=description, input_schema=complete, output_schema=_RESULT, annotations=hints)


def _changes(name: str) -> tuple[str, ...]:
    """What a tool adds to its workspace; nothing where there is no such tool."""
    if name == _OPEN:
        return ("images",)
    return ABILITIES[name].changes if name in ABILITIES else ()


async def _in_turn(lanes: Lanes, workspaces: Workspaces, name: str, arguments: dict[str, Any]) -> ToolReply:
    """The reply of a tool, from a thread, within the deadline of the lanes; it ends where its call is taken back.

    One that finds things waits for its turn.
    """
    ability, stop = ABILITIES.get(name), Cancellation(lanes.timeout_s)
    try:
        if ability is None or ability.finds is None:
            return await run_in_thread(lambda: _called(workspaces, name, arguments, stop), stop, f"{escaped(name)} was at work")
        return await lanes.run(Job(ability.finds, lambda stop: _called(workspaces, name, arguments, stop)))
    except RoiAgentError as error:
        return ToolReply(str(error), error=error.code)


def _called(workspaces: Workspaces, name: str, arguments: dict[str, Any], stop: Cancellation) -> ToolReply:
    """Never raises: what goes wrong is a reply that a model can act on."""
    try:
        stop.check("waiting for its turn")
        workspace = arguments.pop("workspace", None) if workspaces.only is None else None
        if workspace is not None and not isinstance(workspace, str):
            raise InvalidSetting("the workspace is no text", do="name the one that open_image gave")
        if name == _OPEN:
            reply = _opened(workspaces, workspace, arguments)
        else:
            reply = workspaces.get(workspace).call(name, arguments, stop)
        if "images" in _changes(name):
            workspaces.make_room()
        return reply
    except RoiAgentError as error:
        return ToolReply(str(error), error=error.code)


def _opened(workspaces: Workspaces, workspace: str | None, arguments: dict[str, Any]) -> ToolReply:
    source = arguments.pop("image", None)
    if not isinstance(source, str) or not source or arguments:
        raise InvalidSetting("open_image takes one image, as text", do=f"give {_source(workspaces)}")
    fresh = workspaces.only is None and workspace is None
    known = None if fresh else workspaces.get(workspace)
    loaded = workspaces.load(source)
    name, toolbox = (workspace, known) if known else workspaces.open()
    image = toolbox.workspace.add_image(loaded)
    width, height = image.size_wh
    where = f" in the workspace {name}: name it in every call" if workspaces.only is None else ""
    notes = list(image.image.notes)
    data = {"image": image.name, "width": width, "height": height, "notes": notes}
    text = "; ".join([f"{image.name} ({width} x {height} pixels){where}", *notes])
    return ToolReply(text, result=data | ({"workspace": name} if where else {}))


def _result(reply: ToolReply) -> types.CallToolResult:
    content: list[Any] = [types.TextContent(type="text", text=reply.text)]
    if reply.picture is not None:
        content.append(types.ImageContent(type="image", data=png_base64(reply.picture), mime_type="image/png"))
    told: dict[str, Any] = json.loads(reply.to_json())
    return types.CallToolResult(content=content, structured_content=told, is_error=reply.error is not None)


async def _with_progress(context: _Context, name: str, work: Coroutine[Any, Any, ToolReply]) -> ToolReply:
    """The work, which ends where the client goes away; whoever asked for progress hears once a second that it goes on."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(context))
    seconds = 0.0
    try:
        await context.session.report_progress(seconds, None, f"{name} has begun")
        while not working.done():
            await asyncio.wait([working, gone], timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                error = Cancelled("the client went away")
                return ToolReply(str(error), error=error.code)
            if not working.done():
                seconds += _TICK_S
                await context.session.report_progress(seconds, None, f"{name} is at work for {seconds:.0f} s")
        await context.session.report_progress(seconds + _TICK_S, seconds + _TICK_S, f"{name} is done")
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _gone(context: _Context) -> None:
    """Wait until the client of a request over HTTP has gone.

    The SDK ends the call itself in the newest form of the protocol only; in the older ones nobody would read the answer.
    """
    left: asyncio.Event = getattr(context.request, "scope", {}).get(GONE) or asyncio.Event()
    await left.wait()


# ------------------------------------------------------------ resources


def _resources(workspaces: Workspaces) -> list[types.Resource]:
    """What is there over stdio; over HTTP only whoever knows a workspace's name may see into it."""
    if workspaces.only is None:
        return []
    workspace = workspaces.only.workspace
    images = [
        types.Resource(
            uri=f"roi://images/{image.name}",
            name=image.name,
            description="{} x {} pixels".format(*image.size_wh),
            mime_type="image/png",
        )
        for image in workspace.images
    ]
    all_regions = types.Resource(
        uri="roi://regions", name="regions", description="All regions found so far.", mime_type="application/json"
    )
    return [*images, all_regions]


def _templates(workspaces: Workspaces) -> list[types.ResourceTemplate]:
    start = "roi://" if workspaces.only is not None else "roi://{workspace}/"
    return [
        types.ResourceTemplate(
            uri_template=start + "images/{image}", name="image", description="An image as PNG.", mime_type="image/png"
        ),
        types.ResourceTemplate(
            uri_template=start + "regions/{region}", name="region", description="A region.", mime_type="application/json"
        ),
    ]


def _read(workspaces: Workspaces, uri: str) -> types.TextResourceContents | types.BlobResourceContents:
    """Error: MCPError, which names what there is."""
    place = _PLACE.fullmatch(uri)
    if place is None:
        raise MCPError(types.INVALID_PARAMS, f"there is no resource {uri[:200]}; read roi://images/NAME or roi://regions")
    try:
        workspace = workspaces.get(place["workspace"]).workspace
        if place["kind"] == "images":
            file = io.BytesIO()
            workspace.image(place["name"]).pixels.save(file, "PNG")
            blob = base64.b64encode(file.getvalue()).decode()
            return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=blob)
        found: Any = (
            [region.to_dict() for region in workspace.regions()]
            if place["name"] is None
            else workspace.region(place["name"]).to_dict()
        )
    except RoiAgentError as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from None
    return types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(found, ensure_ascii=False))
