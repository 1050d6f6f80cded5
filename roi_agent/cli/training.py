"""`roi-agent scenes` and `roi-agent train`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from roi_agent.cli.options import JsonOption, err, out, require
from roi_agent.model.errors import InvalidSetting

app = typer.Typer()


@app.command(epilog="Example: `roi-agent scenes out/ --count 5 --seed 100`")
def scenes(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if it is not there.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the first; each one after counts on.")] = 0,
    side: Annotated[int, typer.Option(help="Side in pixels.")] = 384,
    as_json: JsonOption = False,
) -> None:
    """Render scenes of the toy world: a PNG, and a JSON file with every thing's kind, colour, size and box."""
    from rich.progress import track

    from roi_agent.model.data.scenes import make_scene, save_scene

    seeds = track(range(seed, seed + count), "rendering", console=err, disable=as_json or not err.is_terminal)
    try:
        paths = [save_scene(folder, make_scene(each), side) for each in seeds]
    except OSError as error:
        raise InvalidSetting(
            f"cannot write to {str(folder)!r}: {error.strerror}", do="give a folder that can be written"
        ) from None
    if as_json:
        print(json.dumps([{"image": str(image), "truth": str(truth)} for image, truth in paths]))
    else:
        out.print(f"{count} scenes of {side} x {side} pixels in {folder}", markup=False, soft_wrap=True)


@app.command(epilog="Example: `roi-agent train nano --out runs/nano`")
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or a shipped configuration: nano, nano-detector, nano-segmenter.")],
    folder: Annotated[Path | None, typer.Option("--out", help="The run's folder.  [default: runs/NAME]")] = None,
    phase: Annotated[str | None, typer.Option(help="Run only this phase of the configuration.")] = None,
) -> None:
    """Train a model; the same command goes on where an earlier run was cut."""
    require("accelerate", "yaml", extra="train")
    import time

    from roi_agent.model.train.loop import train as run
    from roi_agent.model.train.settings import TrainSettings

    start = time.monotonic()
    target = run(TrainSettings.load(config), folder or Path("runs") / Path(config).stem, only=phase)
    out.print(f"the model is in {target}, after {(time.monotonic() - start) / 60:.1f} minutes", markup=False, soft_wrap=True)
