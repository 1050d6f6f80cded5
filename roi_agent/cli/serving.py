"""`roi-agent serve`, and what serving MCP over HTTP has in common with it."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BaseUrlOption,
    BudgetOption,
    DetectorOfSet,
    DeviceOption,
    DtypeOption,
    MaxPixelsOption,
    ModelsOption,
    PlannerOption,
    RegionModelOfSet,
    SegmenterOfSet,
    announce,
    chosen,
    err,
    loading,
    require,
)
from roi_agent.cli.values import num_bytes
from roi_agent.model.errors import InvalidSetting
from roi_agent.model_choice import ModelChoice

if TYPE_CHECKING:
    from fastapi import FastAPI

    from roi_agent.settings import ServerSettings

app = Commands()

HostOption = Annotated[
    str, typer.Option(help="Address to listen on; addresses beyond this machine require ROI_AGENT_API_KEY.", metavar="HOST")
]
PortOption = Annotated[int, typer.Option(help="Port to listen on; 0 takes any free port.")]
ImageMemoryOption = Annotated[
    str, typer.Option(help="Memory for decoded images that clients can refer to again.", metavar="SIZE")
]
OriginOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Origin whose pages may use the server from a browser, as in https://example.org; repeatable.", metavar="ORIGIN"
    ),
]
FolderOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Folder whose images MCP clients may open by path over HTTP; repeatable.",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
    ),
]

_EXAMPLES = """Examples:

`roi-agent serve`

`ROI_AGENT_API_KEY=... roi-agent serve --region-model gpt4roi-7b/ --device cuda:0 --host 0.0.0.0 --cache 20GB`

`roi-agent serve --ui --mcp`

`roi-agent serve --allow-image-host upload.wikimedia.org --allow-image-host 10.0.0.5:9000`

`curl -s localhost:8000/v1/models`"""


@app.command(epilog=_EXAMPLES)
def serve(
    context: typer.Context,
    models: ModelsOption = "nano",
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    budget: BudgetOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the region model for clients.  [default: the name of its folder]")
    ] = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    public_url: Annotated[
        str | None, typer.Option(help="Public address behind a proxy, with its path: https://example.org/roi.", metavar="URL")
    ] = None,
    cache: Annotated[
        str, typer.Option(help="Memory for what is cached per image: features, keys and values.", metavar="SIZE")
    ] = "2GiB",
    image_memory: ImageMemoryOption = "512MiB",
    max_batch: Annotated[int, typer.Option(help="Maximum number of questions answered at once.")] = 32,
    max_waiting: Annotated[int, typer.Option(help="Maximum number of waiting questions; further requests get a 429.")] = 1024,
    max_body: Annotated[str, typer.Option(help="Maximum size of a request.", metavar="SIZE")] = "32MiB",
    max_pixels: MaxPixelsOption = None,
    allow_image_host: Annotated[
        list[str] | None,
        typer.Option(help="Host (HOST or HOST:PORT) to fetch images from by web address; repeatable.", metavar="HOST"),
    ] = None,
    allow_origin: OriginOption = None,
    drain: Annotated[float, typer.Option(help="Seconds that requests in progress get to finish at shutdown.")] = 30.0,
    ui: Annotated[bool, typer.Option("--ui", help="Also serve a web page, at /ui.")] = False,
    visitors: Annotated[
        int, typer.Option(help="With --ui: maximum number of visitors whose images are kept; others have to wait.")
    ] = 100,
    visitor_memory: Annotated[
        str, typer.Option(help="With --ui: memory for the images and files of one visitor.", metavar="SIZE")
    ] = "256MiB",
    page_memory: Annotated[
        str, typer.Option(help="With --ui: memory for the images and files of all visitors.", metavar="SIZE")
    ] = "1GiB",
    visitor_idle: Annotated[
        float, typer.Option(help="With --ui: idle time, in seconds, after which a visitor may be replaced by a new one.")
    ] = 600.0,
    planner: PlannerOption = "offline",
    base_url: BaseUrlOption = None,
    with_mcp: Annotated[bool, typer.Option("--mcp", help="Also serve the tools to MCP hosts, at /mcp.")] = False,
    allow_folder: FolderOption = None,
) -> None:
    """Serve the models over HTTP: OpenAI's chat API with boxes, batches of questions, detection and segmentation.

    --ui adds a web page, whose agent uses --planner; --mcp adds the tools for MCP hosts. /docs describes every route. The key
    for clients is read from ROI_AGENT_API_KEY; browsers ask for it as the password.
    """
    require("fastapi", "uvicorn", "prometheus_client", extra="serve")
    if ui:
        require("gradio", "gradio_image_annotation", extra="ui")
    if with_mcp:
        require("mcp", extra="mcp")
    only_with(context, "ui", ui, ["planner", "base_url", "visitors", "visitor_memory", "page_memory", "visitor_idle"])
    only_with(context, "mcp", with_mcp, ["allow_folder"])
    settings = server_settings(
        max_pixels,
        host=host,
        port=port,
        public_url=public_url,
        max_body_bytes=num_bytes(max_body),
        image_bytes=num_bytes(image_memory),
        image_hosts=tuple(allow_image_host or ()),
        allow_origins=tuple(allow_origin or ()),
        drain_s=drain,
        visitors=visitors,
        visitor_bytes=num_bytes(visitor_memory),
        page_bytes=num_bytes(page_memory),
        visitor_idle_s=visitor_idle,
    )
    choice = chosen(models, region_model, detector, segmenter, device, dtype, budget)
    limits = {"cache_bytes": num_bytes(cache) or 0, "max_batch": max_batch, "max_waiting": max_waiting}
    parts = _Parts((planner, base_url) if ui else None, tuple(allow_folder or ()) if with_mcp else None)
    _serve(choice, settings, name or Path(str(choice.region_model)).name, parts, limits)


@dataclass(frozen=True)
class _Parts:
    """What is served beside the API, None for what is not.

    page: planner and base URL of the page's agent.  mcp: folders whose images MCP clients may open.
    """

    page: tuple[str, str | None] | None = None
    mcp: tuple[Path, ...] | None = None

    @property
    def text(self) -> str:
        return (", with a web page at /ui" if self.page else "") + (", with MCP at /mcp" if self.mcp is not None else "")


def server_settings(max_pixels: int | None, **given: Any) -> "ServerSettings":
    """The settings given on the command line over those of the environment.  Error: InvalidSetting."""
    from roi_agent.settings import ServerSettings

    return ServerSettings.from_environment(**given, **({} if max_pixels is None else {"max_image_pixels": max_pixels}))


def _serve(choice: ModelChoice, settings: "ServerSettings", name: str, parts: _Parts, limits: dict[str, int]) -> None:
    """Serve the API until the server is stopped.  limits: of the engine."""
    from roi_agent.server import listen

    with closing(listen(settings)) as listening:
        with loading(name):
            from roi_agent.loading import load_choice
            from roi_agent.model.engine import EngineSettings
            from roi_agent.server import build_app

            models = load_choice(replace(choice, engine=EngineSettings(**limits)))
            application = build_app(models, settings, name=name)
            if parts.page:
                _mount_page(application, settings, *parts.page)
            if parts.mcp is not None:
                mount_mcp(application, settings, parts.mcp)
        announce(models)
        run_until_stopped(application, settings, listening, f"roi-agent serves {name}{parts.text}")


def run_until_stopped(application: "FastAPI", settings: "ServerSettings", listening: Any, what: str, path: str = "") -> None:
    """Serve until stopped.  what: is printed with the address once the server is up."""
    from roi_agent.server import serve

    serve(application, settings, listening, started=lambda address: err.print(f"{what} at {address}{path}", markup=False))


def _mount_page(application: "FastAPI", settings: "ServerSettings", planner: str, base_url: str | None) -> None:
    from roi_agent.agent.planners import load_planner
    from roi_agent.ui import mount

    state = application.state.roi
    mount(application, state.models, settings, load_planner(planner, base_url=base_url), state.lanes.run, state.lanes.call)


def only_with(context: typer.Context, switch: str, on: bool, names: Sequence[str]) -> None:
    """Refuse options that would do nothing.  Error: InvalidSetting."""
    for name in () if on else names:
        source: Any = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise InvalidSetting(f"{option} is given without --{switch}", do=f"give --{switch} too, or leave {option} out")


def mount_mcp(application: "FastAPI", settings: "ServerSettings", folders: Sequence[Path]) -> None:
    """Serve the tools at /mcp too.  folders: whose images clients may open by path."""
    from roi_agent import __version__
    from roi_agent.mcp import Workspaces, build_server, mount

    state = application.state.roi
    limits: dict[str, Any] = {"max_pixels": settings.max_image_pixels, "image_bytes": settings.image_bytes}
    workspaces = Workspaces(state.models, folders=folders, load=state.images.get, **limits)
    mount(application, build_server(workspaces, version=__version__, lanes=state.lanes), settings)
