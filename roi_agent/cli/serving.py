"""`roi-agent serve` and `roi-agent mcp`."""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.options import (
    BudgetOption,
    MaxPixelsOption,
    ModelOption,
    RolesDtypeOption,
    RolesOption,
    WorkspaceOption,
    err,
    given_image,
    loading,
    num_bytes,
    require,
)
from roi_agent.cli.running import DetectorOption, SegmenterOption
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from fastapi import FastAPI

    from roi_agent.settings import ServerSettings

app = typer.Typer()

HostOption = Annotated[str, typer.Option(help="Address to listen on; beyond this machine only with ROI_AGENT_API_KEY set.")]
ImageMemoryOption = Annotated[str, typer.Option(help="Memory for the pixels of images that clients may name again.")]
OriginOption = Annotated[
    list[str] | None,
    typer.Option(help="Let pages of this origin use the server from browsers, as in https://example.org.", metavar="ORIGIN"),
]
FolderOption = Annotated[
    list[Path] | None,
    typer.Option(help="A folder whose images clients of MCP over HTTP may open by path.", exists=True, file_okay=False),
]

_EXAMPLES = """Examples:

`roi-agent serve`

`ROI_AGENT_API_KEY=... roi-agent serve --model gpt4roi-7b/ --device cuda:0 --host 0.0.0.0 --cache 20GB`

`roi-agent serve --ui --mcp`

`roi-agent serve --allow-image-host upload.wikimedia.org --allow-image-host 10.0.0.5:9000`

`curl -s localhost:8000/v1/models`"""


@app.command(epilog=_EXAMPLES)
def serve(
    context: typer.Context,
    model: ModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: RolesOption = None,
    dtype: RolesDtypeOption = None,
    budget: BudgetOption = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model; by default its folder's name.")] = None,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port.")] = 8000,
    public_url: Annotated[
        str | None, typer.Option(help="Address behind a proxy, with its path: https://example.org/roi.", metavar="URL")
    ] = None,
    cache: Annotated[str, typer.Option(help="Memory for what is kept of images: features, keys and values.")] = "2GiB",
    image_memory: ImageMemoryOption = "512MiB",
    max_batch: Annotated[int, typer.Option(help="Questions that are answered at once.")] = 32,
    max_waiting: Annotated[int, typer.Option(help="Questions that wait; more are told to try again (429).")] = 1024,
    max_body: Annotated[str, typer.Option(help="Size of a request at most.")] = "32MiB",
    max_pixels: MaxPixelsOption = None,
    allow_image_host: Annotated[
        list[str] | None,
        typer.Option(help="Fetch images by web address from this host (HOST or HOST:PORT); from no other.", metavar="HOST"),
    ] = None,
    allow_origin: OriginOption = None,
    drain: Annotated[float, typer.Option(help="Seconds for requests in progress once the server is told to stop.")] = 30.0,
    ui: Annotated[bool, typer.Option("--ui", help="Serve a page for people as well, at /ui.")] = False,
    visitors: Annotated[int, typer.Option(help="With --ui: visitors whose pictures are kept; more are told to wait.")] = 100,
    visitor_memory: Annotated[str, typer.Option(help="With --ui: memory for one visitor's pictures and files.")] = "256MiB",
    page_memory: Annotated[str, typer.Option(help="With --ui: memory for the pictures and files of all visitors.")] = "1GiB",
    visitor_idle: Annotated[
        float, typer.Option(help="With --ui: seconds after which a visitor who is away makes room for a newcomer.")
    ] = 600.0,
    planner: Annotated[
        str, typer.Option(help="With --ui, of the page's agent: offline, or provider:model as in openai:gpt-4o-mini.")
    ] = "offline",
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server, for --planner.")] = None,
    with_mcp: Annotated[bool, typer.Option("--mcp", help="Serve the tools to MCP hosts as well, at /mcp.")] = False,
    allow_folder: FolderOption = None,
) -> None:
    """Serve the models to programs: OpenAI's chat API with boxes, batches, detection, segmentation; with --ui to people too.

    /docs describes every route. The key for clients is read from ROI_AGENT_API_KEY; browsers ask for it as the password.
    """
    require("fastapi", "uvicorn", "prometheus_client", extra="serve")
    if ui:
        require("gradio", "gradio_image_annotation", extra="ui")
    if with_mcp:
        require("mcp", extra="mcp")
    _only_with(context, "ui", ui, ["planner", "base_url", "visitors", "visitor_memory", "page_memory", "visitor_idle"])
    _only_with(context, "mcp", with_mcp, ["allow_folder"])
    from roi_agent.settings import ServerSettings

    settings = ServerSettings.from_environment(
        host=host,
        port=port,
        public_url=public_url,
        max_body_bytes=num_bytes(max_body),
        image_bytes=num_bytes(image_memory),
        **({} if max_pixels is None else {"max_image_pixels": max_pixels}),
        image_hosts=tuple(allow_image_host or ()),
        allow_origins=tuple(allow_origin or ()),
        drain_s=drain,
        visitors=visitors,
        visitor_bytes=num_bytes(visitor_memory),
        page_bytes=num_bytes(page_memory),
        visitor_idle_s=visitor_idle,
    )
    called = name or Path(model).name
    from roi_agent.server import listen

    with closing(listen(settings)) as listening:
        with loading(called):
            from roi_agent.loading import introduction, load_models
            from roi_agent.model.engine import EngineSettings
            from roi_agent.server import build_app
            from roi_agent.server import serve as run

            engine = EngineSettings(cache_bytes=num_bytes(cache) or 0, max_batch=max_batch, max_waiting=max_waiting)
            models = load_models(
                region_model=model,
                detector=detector,
                segmenter=segmenter,
                device=device,
                dtype=dtype,
                budget_bytes=num_bytes(budget),
                engine=engine,
            )
            application = build_app(models, settings, name=called)
            if ui:
                from roi_agent.agent.planners import load_planner
                from roi_agent.ui import mount

                lanes, chat = application.state.roi.finding, load_planner(planner, base_url=base_url)
                mount(application, models, settings, chat, lanes.run, lanes.call)
            if with_mcp:
                _mount_mcp(application, settings, allow_folder or ())
        if about := introduction(models):
            err.print(about, markup=False)
        more = ", with a page for people at /ui" * ui + ", with MCP at /mcp" * with_mcp
        run(
            application,
            settings,
            listening,
            started=lambda address: err.print(f"roi-agent serves {called}{more} at {address}", markup=False),
        )


def _only_with(context: typer.Context, switch: str, on: bool, names: Sequence[str]) -> None:
    """Refuse options that would do nothing.  Error: InvalidSetting."""
    for name in () if on else names:
        source: Any = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise InvalidSetting(f"{option} is given without --{switch}", do=f"give --{switch} too, or leave {option} out")


def _mount_mcp(application: "FastAPI", settings: "ServerSettings", folders: Sequence[Path]) -> None:
    from roi_agent import __version__
    from roi_agent.mcp import Workspaces, build_server, mount

    state = application.state.roi
    limits: dict[str, Any] = {"max_pixels": settings.max_image_pixels, "image_bytes": settings.image_bytes}
    workspaces = Workspaces(state.models, folders=folders, load=state.images.get, **limits)
    mount(application, build_server(workspaces, version=__version__, lanes=state.finding), settings)


_MCP_EXAMPLES = """Examples:

`roi-agent mcp examples/scene1.png`

`roi-agent mcp --http --port 8765 --allow-folder pictures/`

A host such as Claude Desktop starts the first itself: {"mcpServers": {"roi-agent": {"command": "roi-agent", "args": ["mcp"]}}}"""


@app.command(epilog=_MCP_EXAMPLES)
def mcp(
    context: typer.Context,
    images: Annotated[
        list[str] | None, typer.Argument(help="Image files that are open from the start.", metavar="[IMAGE]...")
    ] = None,
    workspace: WorkspaceOption = None,
    model: ModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: RolesOption = None,
    dtype: RolesDtypeOption = None,
    budget: BudgetOption = None,
    max_pixels: MaxPixelsOption = None,
    http: Annotated[bool, typer.Option("--http", help="Serve at http://HOST:PORT/mcp and not over standard input.")] = False,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any free port.")] = 8765,
    allow_folder: FolderOption = None,
    allow_origin: OriginOption = None,
    image_memory: ImageMemoryOption = "512MiB",
) -> None:
    """Serve the tools to MCP hosts: over standard input for one that starts this command, or over HTTP.

    Over HTTP every client has workspaces of its own; the key for clients is read from ROI_AGENT_API_KEY. `roi-agent serve --mcp`
    serves them beside the API, and has more options.
    """
    _only_with(context, "http", http, ["host", "port", "allow_folder", "allow_origin", "image_memory"])
    require("mcp", extra="mcp")
    roles = {"region_model": model, "detector": detector, "segmenter": segmenter, "device": device, "dtype": dtype}
    options = {**roles, "budget_bytes": num_bytes(budget)}
    if http:
        if images or workspace:
            raise InvalidSetting("images and a workspace are given with --http", do="clients open theirs with open_image")
        require("fastapi", "uvicorn", "prometheus_client", extra="serve")
        from roi_agent.settings import ServerSettings

        memory, origins = num_bytes(image_memory), tuple(allow_origin or ())
        limit = {} if max_pixels is None else {"max_image_pixels": max_pixels}
        settings = ServerSettings.from_environment(host=host, port=port, image_bytes=memory, allow_origins=origins, **limit)
        _mcp_over_http(options, settings, Path(model).name, allow_folder or ())
    else:
        _mcp_over_stdio(options, images or (), workspace, max_pixels)


def _mcp_over_http(options: dict[str, Any], settings: "ServerSettings", name: str, folders: Sequence[Path]) -> None:
    """The server of `serve` with no routes but MCP's and those for health."""
    from roi_agent.server import listen

    with closing(listen(settings)) as listening:
        from roi_agent.loading import introduction, load_models
        from roi_agent.server import build_app
        from roi_agent.server import serve as run

        models = load_models(**options)
        application = build_app(models, settings, name=name, api=False)
        _mount_mcp(application, settings, folders)
        if about := introduction(models):
            err.print(about, markup=False)
        started = "roi-agent serves MCP at {}/mcp"
        run(application, settings, listening, started=lambda address: err.print(started.format(address), markup=False))


def _mcp_over_stdio(options: dict[str, Any], images: Sequence[str], folder: Path | None, max_pixels: int | None) -> None:
    from roi_agent import __version__
    from roi_agent.loading import load_models
    from roi_agent.mcp import Workspaces, build_server, run_stdio
    from roi_agent.tools.workspace import Workspace

    models = load_models(**options)
    with Workspace.opened(folder) if folder else nullcontext(Workspace()) as held:
        for image in images:
            held.add_image(given_image(image, max_pixels))
        interrupted = run_stdio(build_server(Workspaces(models, only=held, max_pixels=max_pixels), version=__version__))
    if interrupted:  # told only now, when the workspace is kept
        raise KeyboardInterrupt
