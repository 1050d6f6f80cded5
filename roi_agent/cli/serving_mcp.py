"""`roi-agent mcp`."""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BudgetOption,
    DetectorOfSet,
    DeviceOption,
    DtypeOption,
    MaxPixelsOption,
    ModelsOption,
    RegionModelOfSet,
    SegmenterOfSet,
    WorkspaceOption,
    announce,
    chosen,
    given_image,
    require,
)
from roi_agent.cli.serving import (
    FolderOption,
    HostOption,
    ImageMemoryOption,
    OriginOption,
    PortOption,
    mount_mcp,
    only_with,
    run_until_stopped,
    server_settings,
)
from roi_agent.cli.values import num_bytes
from roi_agent.model.errors import InvalidSetting
from roi_agent.model_choice import ModelChoice

if TYPE_CHECKING:
    from roi_agent.settings import ServerSettings

app = Commands()

_EXAMPLES = """Examples:

`roi-agent mcp examples/scene1.png`

`roi-agent mcp --http --port 8765 --allow-folder pictures/`

A host such as Claude Desktop starts the first itself: {"mcpServers": {"roi-agent": {"command": "roi-agent", "args": ["mcp"]}}}"""


@app.command(epilog=_EXAMPLES)
def mcp(
    context: typer.Context,
    images: Annotated[list[str] | None, typer.Argument(help="Image files to open at the start.", metavar="[IMAGE]...")] = None,
    workspace: WorkspaceOption = None,
    models: ModelsOption = "nano",
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    budget: BudgetOption = None,
    max_pixels: MaxPixelsOption = None,
    http: Annotated[bool, typer.Option("--http", help="Serve at http://HOST:PORT/mcp instead of over standard input.")] = False,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8765,
    allow_folder: FolderOption = None,
    allow_origin: OriginOption = None,
    image_memory: ImageMemoryOption = "512MiB",
) -> None:
    """Serve the tools to an MCP host: over standard input to a host that starts this command, or over HTTP.

    Over HTTP, every client has workspaces of its own; the key for clients is read from ROI_AGENT_API_KEY. `roi-agent serve --mcp`
    serves the tools beside the API, and has more options.
    """
    only_with(context, "http", http, ["host", "port", "allow_folder", "allow_origin", "image_memory"])
    require("mcp", extra="mcp")
    choice = chosen(models, region_model, detector, segmenter, device, dtype, budget)
    if http:
        if images or workspace:
            raise InvalidSetting("images and a workspace are given with --http", do="clients open theirs with open_image")
        require("fastapi", "uvicorn", "prometheus_client", extra="serve")
        memory, origins = num_bytes(image_memory), tuple(allow_origin or ())
        settings = server_settings(max_pixels, host=host, port=port, image_bytes=memory, allow_origins=origins)
        _mcp_over_http(choice, settings, allow_folder or ())
    else:
        _mcp_over_stdio(choice, images or (), workspace, max_pixels)


def _mcp_over_http(choice: ModelChoice, settings: "ServerSettings", folders: Sequence[Path]) -> None:
    """The server of `serve` with no routes but those of MCP and of health."""
    from roi_agent.server import listen

    with closing(listen(settings)) as listening:
        from roi_agent.loading import load_choice
        from roi_agent.server import build_app

        models = load_choice(choice)
        application = build_app(models, settings, name=Path(str(choice.region_model)).name, api=False)
        mount_mcp(application, settings, folders)
        announce(models)
        run_until_stopped(application, settings, listening, "roi-agent serves MCP", path="/mcp")


def _mcp_over_stdio(choice: ModelChoice, images: Sequence[str], folder: Path | None, max_pixels: int | None) -> None:
    from roi_agent import __version__
    from roi_agent.loading import load_choice
    from roi_agent.mcp import Workspaces, build_server, run_stdio
    from roi_agent.tools.workspace import Workspace

    models = load_choice(choice)
    with Workspace.opened(folder) if folder else nullcontext(Workspace()) as held:
        for image in images:
            held.add_image(given_image(image, max_pixels))
        interrupted = run_stdio(build_server(Workspaces(models, only=held, max_pixels=max_pixels), version=__version__))
    if interrupted:  # raised only now, when the workspace has been saved
        raise KeyboardInterrupt
