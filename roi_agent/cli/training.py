"""`roi-agent scenes`, `roi-agent train` and `roi-agent evaluate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from roi_agent.cli.options import DeviceOption, JsonOption, ModelOption, err, out, require
from roi_agent.model.errors import InvalidSetting

app = typer.Typer()
evaluate_app = typer.Typer(help="Measure a model.", no_args_is_help=True)


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
    config: Annotated[str, typer.Argument(help="A YAML file, or a shipped configuration: nano, nano-detector.")],
    folder: Annotated[Path | None, typer.Option("--out", help="The run's folder.  [default: runs/NAME]")] = None,
    phase: Annotated[str | None, typer.Option(help="Run only this phase of the configuration.")] = None,
) -> None:
    """Train a model; the same command goes on where an earlier run was cut."""
    require("accelerate", "scipy", "yaml", extra="train")
    import time

    from roi_agent.model.train.loop import train as run
    from roi_agent.model.train.settings import TrainSettings

    start = time.monotonic()
    target = run(TrainSettings.load(config), folder or Path("runs") / Path(config).stem, only=phase)
    out.print(f"the model is in {target}, after {(time.monotonic() - start) / 60:.1f} minutes", markup=False, soft_wrap=True)


@evaluate_app.command("toy", epilog="Example: `roi-agent evaluate toy --model nano --questions 500`")
def evaluate_toy(
    model: ModelOption = "nano",
    questions: Annotated[int, typer.Option(min=1, help="Questions for each row of the table.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="The first held-out scene.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exact match on held-out scenes of the toy world, beside chance and beside the same model with shuffled boxes."""
    from roi_agent.evaluation import run_toy, toy_table

    result = run_toy(model, questions=questions, first_seed=seed, device=device, show_progress=not as_json)
    if as_json:
        print(json.dumps([score.to_dict() for score in result]))
    else:
        out.print(toy_table(result, model))


@evaluate_app.command("detect", epilog="Example: `roi-agent evaluate detect --model nano --scenes 500`")
def evaluate_detect(
    model: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes; each is asked twice.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="The first held-out scene.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """A detector on held-out scenes of the toy world: average precision, recall, and boxes for things that are not there."""
    from roi_agent.evaluation import detection_table, run_detection
    from roi_agent.loading import load_detector

    result = run_detection(load_detector(model, device=device), scenes=scenes, first_seed=seed, show_progress=not as_json)
    if as_json:
        print(json.dumps([score.to_dict() for score in result]))
    else:
        out.print(detection_table(result, model))
