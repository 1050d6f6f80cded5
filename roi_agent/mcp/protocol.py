"""The toolbox as an MCP server: tools with structured results and pictures, images and regions as resources, progress."""

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

DISCONNECTED = "roi_agent.gone"  # in the scope of an HTTP request: an event that is set once its client has disconnected
_OPEN_IMAGE = "open_image"
_PROGRESS_INTERVAL_S = 1.0  # between two progress notifications of a tool
_RESULT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "The reply of the tool, which names handles."},
        "regions": {"type": "array", "items": {"type": "object"}, "description": "name, box (pixel xyxy), label, score, ..."},
        "data": {"type": "object", "description": "The full result."},
    },
    "required": ["text", "regions", "data"],
}
_RESOURCE_URI = re.compile(r"roi://(?:(?P<workspace>ws-[0-9a-f]{24})/)?(?P<kind>images|regions)(?:/(?P<name>\w+))?")

_Context = ServerRequestContext[Any]


def build_server(workspaces: Workspaces, *, version: str, lanes: Lanes | None = None) -> Server[Any]:
    """Build an MCP server over workspaces.  lanes: queues of detector and segmenter; default: new ones."""
    lanes_used = lanes or Lanes()

    async def list_tools(context: _Context, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=_tools(workspaces))

    async def call_tool(context: _Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = dict(params.arguments or {})
        reply = await _with_progress(context, params.name, _run_queued(lanes_used, workspaces, params.name, arguments))
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
    """Return the tools with the toolbox's schemas; over HTTP, each takes a workspace too."""
    texts = load_blocks("mcp")
    toolbox = workspaces.only or Toolbox(Workspace(), workspaces.models)
    described = [each["function"] for each in toolbox.openai_tools()]
    image = {"type": "string", "minLength": 1, "description": _source_text(workspaces).capitalize() + "."}
    opened = {"type": "object", "properties": {"image": image}, "required": ["image"], "additionalProperties": False}
    tools = [_tool(_OPEN_IMAGE, texts[_OPEN_IMAGE].format(source=_source_text(workspaces)), opened)]
    tools += [_tool(each["name"], each["description"], each["parameters"]) for each in described]
    if workspaces.only is None:
        for tool in tools:
            named = {"type": "string", "description": texts["new_workspace" if tool.name == _OPEN_IMAGE else "workspace"]}
            properties = {**tool.input_schema["properties"], "workspace": named}
            required = list(tool.input_schema.get("required", []))
            wanted = required if tool.name == _OPEN_IMAGE else [*required, "workspace"]
            tool.input_schema = {**tool.input_schema, "properties": properties, "required": wanted}
    return tools


def _source_text(workspaces: Workspaces) -> str:
    texts = load_blocks("mcp")
    if workspaces.folders is None:
        return texts["any_source"]
    return texts["some_source" if workspaces.folders else "data_source"]


def _tool(name: str, description: str, schema: dict[str, Any]) -> types.Tool:
    reads = not _changes(name)
    hints = types.ToolAnnotations(read_only_hint=reads, destructive_hint=False, idempotent_hint=reads, open_world_hint=False)
    complete = {"type": "object", "properties": {}, **schema}
    return types.Tool(name=name, description=description, input_schema=complete, output_schema=_RESULT_SCHEMA, annotations=hints)


def _changes(name: str) -> tuple[str, ...]:
    """Return what a tool adds to its workspace; nothing for an unknown tool."""
    if name == _OPEN_IMAGE:
        return ("images",)
    return ABILITIES[name].changes if name in ABILITIES else ()


async def _run_queued(lanes: Lanes, workspaces: Workspaces, name: str, arguments: dict[str, Any]) -> ToolReply:
    """Run a tool in a thread, within the deadline of the lanes; cancelling the call ends it.

    Tools that use the detector or segmenter are queued.
    """
    ability, stop = ABILITIES.get(name), Cancellation(lanes.timeout_s)
    try:
        if ability is None or ability.finds is None:
            what = f"{escaped(name)} was running"
            return await run_in_thread(lambda: _call_tool(workspaces, name, arguments, stop), stop, what)
        return await lanes.run(Job(ability.finds, lambda stop: _call_tool(workspaces, name, arguments, stop)))
    except RoiAgentError as error:
        return ToolReply(str(error), error=error.code)


def _call_tool(workspaces: Workspaces, name: str, arguments: dict[str, Any], stop: Cancellation) -> ToolReply:
    """Call a tool; errors become replies that a model can act on."""
    try:
        stop.check("waiting in the queue")
        workspace = arguments.pop("workspace", None) if workspaces.only is None else None
        if workspace is not None and not isinstance(workspace, str):
            raise InvalidSetting("the workspace is not a string", do="use the name that open_image returned")
        if name == _OPEN_IMAGE:
            reply = _open_image(workspaces, workspace, arguments)
        else:
            reply = workspaces.get(workspace).call(name, arguments, stop)
        if "images" in _changes(name):
            workspaces.make_room()
        return reply
    except RoiAgentError as error:
        return ToolReply(str(error), error=error.code)


def _open_image(workspaces: Workspaces, workspace: str | None, arguments: dict[str, Any]) -> ToolReply:
    source = arguments.pop("image", None)
    if not isinstance(source, str) or not source or arguments:
        raise InvalidSetting("open_image takes one image, as a string", do=f"give {_source_text(workspaces)}")
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
    return types.CallToolResult(content=content, structured_content=reply.to_dict(), is_error=reply.error is not None)


async def _with_progress(context: _Context, name: str, work: Coroutine[Any, Any, ToolReply]) -> ToolReply:
    """Run work until the client disconnects, with a progress notification every second."""
    working, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(context))
    seconds = 0.0
    try:
        await context.session.report_progress(seconds, None, f"{name} has started")
        while not working.done():
            await asyncio.wait([working, disconnected], timeout=_PROGRESS_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
            if disconnected.done():
                error = Cancelled("the client disconnected")
                return ToolReply(str(error), error=error.code)
            if not working.done():
                seconds += _PROGRESS_INTERVAL_S
                await context.session.report_progress(seconds, None, f"{name} has been running for {seconds:.0f} s")
        await context.session.report_progress(seconds + _PROGRESS_INTERVAL_S, seconds + _PROGRESS_INTERVAL_S, f"{name} is done")
        return working.result()
    finally:
        working.cancel()
        disconnected.cancel()


async def _disconnected(context: _Context) -> None:
    """Wait until the client of an HTTP request has disconnected.

    The SDK only cancels calls of disconnected clients in the newest version of the protocol.
    """
    event: asyncio.Event = getattr(context.request, "scope", {}).get(DISCONNECTED) or asyncio.Event()
    await event.wait()


# ------------------------------------------------------------ resources


def _resources(workspaces: Workspaces) -> list[types.Resource]:
    """List the resources over stdio; over HTTP, only clients that know a workspace's name can read it."""
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
    """Read a resource.  Error: MCPError, which lists the known resources."""
    match = _RESOURCE_URI.fullmatch(uri)
    if match is None:
        raise MCPError(types.INVALID_PARAMS, f"there is no resource {uri[:200]}; read roi://images/NAME or roi://regions")
    try:
        workspace = workspaces.get(match["workspace"]).workspace
        if match["kind"] == "images":
            file = io.BytesIO()
            workspace.image(match["name"]).pixels.save(file, "PNG")
            blob = base64.b64encode(file.getvalue()).decode()
            return types.BlobResourceContents(uri=uri, mime_type="image/png", blob=blob)
        found: Any = (
            [region.to_dict() for region in workspace.regions()]
            if match["name"] is None
            else workspace.region(match["name"]).to_dict()
        )
    except RoiAgentError as error:
        raise MCPError(types.INVALID_PARAMS, str(error)) from None
    return types.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(found, ensure_ascii=False))
