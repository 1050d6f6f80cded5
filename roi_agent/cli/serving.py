"""`roi-agent serve`."""

from typing import Annotated

import typer

from roi_agent.cli.options import BudgetOption, ModelOption, RolesOption, err, num_bytes, require
from roi_agent.cli.running import DetectorOption, SegmenterOption

app = typer.Typer()

_EXAMPLES = """Examples:

`roi-agent serve`

`ROI_AGENT_API_KEY=... roi-agent serve --model gpt4roi-7b/ --device cuda:0 --host 0.0.0.0 --cache 20GB`

`curl -s localhost:8000/v1/models`"""


@app.command(epilog=_EXAMPLES)
def serve(
    model: ModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: RolesOption = None,
    budget: BudgetOption = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model; by default its folder's name.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine only with ROI_AGENT_API_KEY set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0 takes any free port.")] = 8000,
    cache: Annotated[str, typer.Option(help="Memory for what is kept of images: features, keys and values.")] = "2GiB",
    max_batch: Annotated[int, typer.Option(help="Questions that are answered at once.")] = 32,
    max_waiting: Annotated[int, typer.Option(help="Questions that wait; more are told to try again (429).")] = 1024,
    max_body: Annotated[str, typer.Option(help="Size of a request at most.")] = "32MiB",
    drain: Annotated[float, typer.Option(help="Seconds for requests in progress once the server is told to stop.")] = 30.0,
) -> None:
    """Serve the models to programs: OpenAI's chat API with boxes, batches, detection, segmentation.

    /docs describes every route. The key for clients is read from ROI_AGENT_API_KEY.
    """
    require("fastapi", "uvicorn", "prometheus_client", extra="serve")
    from pathlib import Path

    from roi_agent.loading import load_models
    from roi_agent.model.engine import EngineSettings
    from roi_agent.server import build_app
    from roi_agent.server import serve as run
    from roi_agent.settings import ServerSettings

    settings = ServerSettings.from_environment(host=host, port=port, max_body_bytes=num_bytes(max_body), drain_s=drain)
    engine = EngineSettings(cache_bytes=num_bytes(cache) or 0, max_batch=max_batch, max_waiting=max_waiting)
    models = load_models(
        region_model=model,
        detector=detector,
        segmenter=segmenter,
        device=device,
        budget_bytes=num_bytes(budget),
        engine=engine,
    )
    called = name or Path(model).name
    application = build_app(models, settings, name=called)
    run(application, settings, started=lambda address: err.print(f"roi-agent serves {called} at {address}", markup=False))
