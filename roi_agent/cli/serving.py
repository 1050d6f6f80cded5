"""`roi-agent serve` and `roi-agent mcp`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

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

app = typer.Typer()

_EXAMPLES = """Examples:

`roi-agent serve`

`ROI_AGENT_API_KEY=... roi-agent serve --model gpt4roi-7b/ --device cuda:0 --host 0.0.0.0 --cache 20GB`

`roi-agent serve --ui`

`roi-agent serve --allow-image-host upload.wikimedia.org --allow-image-host 10.0.0.5:9000`

`curl -s localhost:8000/v1/models`"""


@app.command(epilog=_EXAMPLES)
def serve(
    model: ModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: RolesOption = None,
    dtype: RolesDtypeOption = None,
    budget: BudgetOption = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model; by default its folder's name.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine only with ROI_AGENT_API_KEY set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0 takes any free port.")] = 8000,
    public_url: Annotated[
        str | None, typer.Option(help="Address behind a proxy, with its path: https://example.org/roi.", metavar="URL")
    ] = None,
    cache: Annotated[str, typer.Option(help="Memory for what is kept of images: features, keys and values.")] = "2GiB",
    image_memory: Annotated[str, typer.Option(help="Memory for the pixels of images that clients may name again.")] = "512MiB",
    max_batch: Annotated[int, typer.Option(help="Questions that are answered at once.")] = 32,
    max_waiting: Annotated[int, typer.Option(help="Questions that wait; more are told to try again (429).")] = 1024,
    max_body: Annotated[str, typer.Option(help="Size of a request at most.")] = "32MiB",
    max_pixels: MaxPixelsOption = None,
    allow_image_host: Annotated[
        list[str] | None,
        typer.Option(help="Fetch images by web address from this host (HOST or HOST:PORT); from no other.", metavar="HOST"),
    ] = None,
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
) -> None:
    """Serve the models to programs: OpenAI's chat API with boxes, batches, detection, segmentation; with --ui to people too.

    /docs describes every route. The key for clients is read from ROI_AGENT_API_KEY; browsers ask for it as the password.
    """
    require("fastapi", "httpx2", "uvicorn", "prometheus_client", extra="serve")
    if ui:
        require("gradio", "gradio_image_annotation", extra="ui")
    from roi_agent.settings import ServerSettings

    settings = ServerSettings.from_environment(
        host=host,
        port=port,
        public_url=public_url,
        max_body_bytes=num_bytes(max_body),
        image_bytes=num_bytes(image_memory),
        **({} if max_pixels is None else {"max_image_pixels": max_pixels}),
        image_hosts=tuple(allow_image_host or ()),
        drain_s=drain,
        visitors=visitors,
        visitor_bytes=num_bytes(visitor_memory),
        page_bytes=num_bytes(page_memory),
        visitor_idle_s=visitor_idle,
    )
    called = name or Path(model).name
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

            mount(application, models, settings, load_planner(planner, base_url=base_url), application.state.roi.finding.run)
    page = ", with a page for people at /ui" if ui else ""
    if about := introduction(models):
        err.print(about, markup=False)
    run(application, settings, started=lambda address: err.print(f"roi-agent serves {called}{page} at {address}", markup=False))


_MCP_EXAMPLES = """Examples:

`roi-agent mcp examples/scene1.png`

`roi-agent mcp --http --port 8765 --allow-folder pictures/`

A host such as Claude Desktop starts the first itself: {"mcpServers": {"roi-agent": {"command": "roi-agent", "args": ["mcp"]}}}"""


@app.command(epilog=_MCP_EXAMPLES)
def mcp(
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
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine only with ROI_AGENT_API_KEY set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    allow_folder: Annotated[
        list[Path] | None,
        typer.Option(help="With --http: a folder whose images clients may open by path.", exists=True, file_okay=False),
    ] = None,
) -> None:
    """Serve the tools to MCP hosts: over standard input for one that starts this command, or over HTTP.

    Over HTTP every client has workspaces of its own; the key for clients is read from ROI_AGENT_API_KEY.
    """
    require("mcp", "uvicorn", extra="mcp")
    from roi_agent import __version__
    from roi_agent.loading import introduction, load_models
    from roi_agent.mcp import Workspaces, build_server, run_http, run_stdio
    from roi_agent.settings import ServerSettings

    models = load_models(
        region_model=model,
        detector=detector,
        segmenter=segmenter,
        device=device,
        dtype=dtype,
        budget_bytes=num_bytes(budget),
    )
    if http:
        if images or workspace:
            raise InvalidSetting("images and a workspace are given with --http", do="clients open theirs with open_image")
        settings = ServerSettings.from_environment(host=host, port=port)
        if about := introduction(models):
            err.print(about, markup=False)
        err.print(f"roi-agent serves MCP at http://{host}:{port}/mcp", markup=False)
        run_http(
            build_server(Workspaces(models, folders=allow_folder or [], max_pixels=max_pixels), version=__version__), settings
        )
        return
    if allow_folder:
        raise InvalidSetting("--allow-folder is given without --http", do="over standard input any file may be opened")
    from roi_agent.tools.workspace import Workspace

    with Workspace.opened(workspace) if workspace else nullcontext(Workspace()) as held:
        for image in images or ():
            held.add_image(given_image(image, max_pixels))
        interrupted = run_stdio(build_server(Workspaces(models, only=held, max_pixels=max_pixels), version=__version__))
    if interrupted:  # told only now, when the workspace is kept
        raise KeyboardInterrupt
