"""`roi-agent scenes`, `roi-agent train` and `roi-agent evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from roi_agent.cli.options import DeviceOption, JsonOption, ModelOption, err, out, require
from roi_agent.model.errors import InvalidSetting

app = typer.Typer()
evaluate_app = typer.Typer(help="Measure a model.", no_args_is_help=True)


_SCENES_EXAMPLES = """Examples:

`roi-agent scenes out/ --count 5 --seed 100`

`roi-agent scenes refcoco/ --layout refcoco --count 500 --held-out 100`"""


@app.command(epilog=_SCENES_EXAMPLES)
def scenes(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if it is not there.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the first; each one after counts on.")] = 0,
    side: Annotated[int, typer.Option(help="Side in pixels.")] = 384,
    layout: Annotated[
        str | None, typer.Option(help="Write them as the public data set of this name is distributed, such as coco or refcoco.")
    ] = None,
    held_out: Annotated[
        int | None, typer.Option(min=0, help="With --layout: scenes for validation, next to COUNT for training.  [default: 0]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Render scenes of the toy world: a PNG, and a JSON file with every thing's kind, colour, size and box.

    With --layout, `roi-agent data convert LAYOUT FOLDER OUT` reads them back. COUNT scenes are then for training, with seeds of
    their own, which count on from SEED too.
    """
    from rich.progress import track

    from roi_agent.model.data.scenes import make_scene, save_scene

    if layout is not None:
        _write_layout(layout, folder, range(seed, seed + count), range(seed, seed + (held_out or 0)), side, as_json)
        return
    if held_out is not None:
        raise InvalidSetting("--held-out belongs to --layout", do="leave it out, or name a layout")
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


def _write_layout(layout: str, folder: Path, train: range, held_out: range, side: int, as_json: bool) -> None:
    from roi_agent.model.data.layouts import LAYOUTS
    from roi_agent.model.data.questions import TRAINING_SEEDS

    if layout not in LAYOUTS:
        raise InvalidSetting(f"there is no layout {layout!r}", do=f"use one of {', '.join(LAYOUTS)}")
    if held_out.stop > TRAINING_SEEDS:
        raise InvalidSetting(f"seed {held_out.stop - 1} belongs to training", do=f"start below {TRAINING_SEEDS}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidSetting(f"{str(folder)!r} is not empty", do="name a folder that is empty or not there")
    try:
        with err.status("rendering"):
            LAYOUTS[layout](folder, [*(TRAINING_SEEDS + each for each in train), *held_out], side)
    except OSError as error:
        problem = f"cannot write to {str(folder)!r}: {error.strerror}"
        raise InvalidSetting(problem, do="give a folder that can be written") from None
    if as_json:
        print(json.dumps({"layout": layout, "folder": str(folder), "train": len(train), "held_out": len(held_out)}))
    else:
        text = f"{len(train)} scenes for training and {len(held_out)} held out, of {side} x {side} pixels, in {folder}"
        out.print(text, markup=False, soft_wrap=True)


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


@evaluate_app.command("toy", epilog="Example: `roi-agent evaluate toy --only ask --questions 500`")
def evaluate_toy(
    model: ModelOption = "nano",
    detector: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    segmenter: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    only: Annotated[str | None, typer.Option(help="Only one of them: ask, detect or segment.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions for each row of the region model's table.")] = 500,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes for the detector; a third of them for the segmenter.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="The first held-out scene.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """How well the three models answer, find and outline in held-out scenes of the toy world, beside chance."""
    from roi_agent.evaluation import models as evaluation
    from roi_agent.loading import load_detector, load_segmenter

    if only not in (None, "ask", "detect", "segment"):
        raise InvalidSetting(f"there is no part {only!r}", do="use ask, detect or segment")
    parts: dict[str, Any] = {}
    show = not as_json
    if only in (None, "ask"):
        rows = evaluation.run_toy(model, questions=questions, first_seed=seed, device=device, show_progress=show)
        parts["ask"] = (rows, evaluation.toy_table(rows, model))
    if only in (None, "detect"):
        finder = load_detector(detector, device=device)
        found = evaluation.run_detection(finder, scenes=scenes, first_seed=seed, show_progress=show)
        parts["detect"] = (found, evaluation.detection_table(found, detector))
    if only in (None, "segment"):
        outliner = load_segmenter(segmenter, device=device)
        outlined = evaluation.run_segmentation(outliner, scenes=max(1, scenes // 3), first_seed=seed, show_progress=show)
        parts["segment"] = (outlined, evaluation.segmentation_table(outlined, segmenter))
    if as_json:
        print(json.dumps({name: [row.to_dict() for row in rows] for name, (rows, _) in parts.items()}))
        return
    for _, table in parts.values():
        out.print(table)


@evaluate_app.command("agent", epilog="Example: `roi-agent evaluate agent --questions 50`")
def evaluate_agent(
    planner: Annotated[str, typer.Option(help="offline, or provider:model as in openai:gpt-4o-mini.")] = "offline",
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    model: ModelOption = "nano",
    detector: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    segmenter: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    questions: Annotated[int, typer.Option(min=1, help="Questions of each family.")] = 50,
    only: Annotated[
        list[str] | None,
        typer.Option(help='Only these columns: "agent", "no detector", "no measuring", "no second look", "whole image".'),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first held-out scene.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """How well the agent answers compositional questions about held-out scenes, beside itself with parts left out."""
    from roi_agent.evaluation import agent as evaluation

    columns = tuple(only or (*evaluation.VARIANTS, evaluation.DIRECT))
    attempts = evaluation.run_agent(
        planner,
        questions=questions,
        first_seed=seed,
        variants=columns,
        show_progress=not as_json,
        base_url=base_url,
        region_model=model,
        detector=detector,
        segmenter=segmenter,
        device=device,
    )
    rows = evaluation.agent_scores(attempts)
    if as_json:
        print(json.dumps([row.to_dict() for row in rows]))
    else:
        out.print(evaluation.agent_table(rows, planner))
