"""`roi-agent scenes` and `roi-agent train`."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import JsonOption, among, out, print_json, require
from roi_agent.model.errors import InvalidSetting

app = Commands()


def _layouts(incomplete: str) -> list[str]:
    from roi_agent.model.toy.layouts import LAYOUTS

    return among(*LAYOUTS)(incomplete)


def _configs(incomplete: str) -> list[str]:
    return among(*sorted(path.stem for path in (Path(__file__).parents[1] / "model/train/configs").glob("*.yaml")))(incomplete)


_SCENES_EXAMPLES = """Examples:

`roi-agent scenes out/ --count 5 --seed 100`

`roi-agent scenes refcoco/ --layout refcoco --count 500 --held-out 100`"""


@app.command(epilog=_SCENES_EXAMPLES)
def scenes(
    folder: Annotated[Path, typer.Argument(help="Folder to write; created if missing.", metavar="FOLDER")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of scenes.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first scene; the others have consecutive seeds.")] = 0,
    side: Annotated[int, typer.Option(help="Side of an image, in pixels.")] = 384,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Layout of a public data set to write instead, such as coco or refcoco.",
            metavar="NAME",
            autocompletion=_layouts,
        ),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(min=0, help="With --layout: number of validation scenes, besides COUNT for training.  [default: 0]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Render scenes of the toy world: a PNG, and a JSON file with the kind, colour, size and box of every object.

    With --layout, `roi-agent data convert LAYOUT SOURCE FOLDER` reads them back. The COUNT scenes are then training scenes, with
    seeds of their own, also counted from SEED.
    """
    from roi_agent.model.toy.world.scenes import make_scene, save_scene
    from roi_agent.model.utils.progress import progress_bar

    if layout is not None:
        _write_layout(layout, folder, range(seed, seed + count), range(seed, seed + (held_out or 0)), side, as_json)
        return
    if held_out is not None:
        raise InvalidSetting("--held-out is given without --layout", do="omit it, or name a layout")
    try:
        with progress_bar(not as_json) as bar:
            seeds = bar.track(range(seed, seed + count), description="rendering")
            paths = [save_scene(folder, make_scene(each), side) for each in seeds]
    except OSError as error:
        raise InvalidSetting(f"cannot write to {str(folder)!r}: {error.strerror}", do="give a writable folder") from None
    if as_json:
        print_json({"scenes": [{"image": str(image), "truth": str(truth)} for image, truth in paths]})
    else:
        out.print(f"{count} scenes of {side} x {side} pixels in {folder}", markup=False, soft_wrap=True)


def _write_layout(layout: str, folder: Path, train: range, held_out: range, side: int, as_json: bool) -> None:
    from roi_agent.model.toy.layouts import LAYOUTS
    from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
    from roi_agent.model.utils.atomic_files import atomic_folder, is_free
    from roi_agent.model.utils.progress import waiting

    if layout not in LAYOUTS:
        raise InvalidSetting(f"there is no layout {layout!r}", do=f"use one of {', '.join(LAYOUTS)}")
    if held_out.stop > TRAINING_SEEDS:
        raise InvalidSetting(f"seed {held_out.stop - 1} belongs to training", do=f"start below {TRAINING_SEEDS}")
    if not is_free(folder):
        raise InvalidSetting(f"{str(folder)!r} is not empty", do="name a new or empty folder")
    try:
        with waiting("rendering", not as_json), atomic_folder(folder) as temporary:
            LAYOUTS[layout](temporary, [*(TRAINING_SEEDS + each for each in train), *held_out], side)
    except OSError as error:
        problem = f"cannot write to {str(folder)!r}: {error.strerror}"
        raise InvalidSetting(problem, do="give a writable folder") from None
    if as_json:
        print_json({"layout": layout, "folder": str(folder), "train": len(train), "held_out": len(held_out)})
    else:
        text = f"{len(train)} scenes for training and {len(held_out)} held out, of {side} x {side} pixels, in {folder}"
        out.print(text, markup=False, soft_wrap=True)


_TRAIN_EXAMPLES = """Examples:

`roi-agent train nano --out runs/nano`

`roi-agent train nano-boxes --data my-sets/ --from nano --out runs/mine`

`roi-agent train stage1-7b --data sets/ --language-model vicuna-7b/ --vision clip-vit-large-patch14/ --projector mm_projector.bin`

`roi-agent train stage2-7b --data sets/ --from runs/stage1-7b/model --processes 8 --plan`"""


@app.command(epilog=_TRAIN_EXAMPLES)
def train(
    config: Annotated[
        str,
        typer.Argument(
            help="YAML file, or the name of a shipped configuration, such as nano, nano-boxes, stage2-7b or lora-7b.",
            metavar="CONFIG",
            autocompletion=_configs,
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run.  [default: runs/CONFIG]", metavar="FOLDER")
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Toy world: only phase to run.", metavar="NAME")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Records: folder of the data sets named in the configuration.", metavar="FOLDER"),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Records: model to start from: nano, or a folder.", metavar="MODEL")
    ] = None,
    language_model: Annotated[
        Path | None, typer.Option(help="Records: folder of a language model to start from, with --vision.", metavar="FOLDER")
    ] = None,
    vision: Annotated[
        Path | None, typer.Option(help="Records: folder of the vision tower, for --language-model.", metavar="FOLDER")
    ] = None,
    projector: Annotated[
        Path | None,
        typer.Option(help="Records: LLaVA's projector, for --language-model.  [default: a new one is trained]", metavar="FILE"),
    ] = None,
    reset: Annotated[
        list[str] | None, typer.Option(help="Records: part to start from random weights: region_encoder.", metavar="PART")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Records: number of processes that share the work, one per GPU.")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Records: only report the cost of the run.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on the toy world or on records; the same command continues an interrupted run."""
    require("accelerate", "datasets", "peft", "tensorboard", "yaml", extra="train")
    from roi_agent.model.train.config_files import read_values

    folder = folder or Path("runs") / Path(config).stem
    given = (data, start, language_model, vision, projector, reset)
    if "phases" in read_values(config):
        if any(given) or processes > 1 or plan:
            raise InvalidSetting(f"{config} trains on the toy world", do="omit the options for records")
        _train(partial(_on_toy_world, config, folder, phase), folder, "scenes", as_json)
        return
    if phase is not None:
        raise InvalidSetting(f"{config} has no phases", do="omit --phase")
    bases = [str(each) if each else None for each in (language_model, vision, projector)]
    if plan:
        _plan(config, data, start, bases, reset, processes, as_json)
    elif data is None:
        raise InvalidSetting("no data is given", do="give --data, the folder of the data sets")
    else:
        run = partial(_on_records, config, folder, data, (start, bases), tuple(reset or ()), processes)
        _train(run, folder, "records", as_json)


def _train(run: Callable[[bool], tuple[Path, int]], folder: Path, kind: str, as_json: bool) -> None:
    """Train, and print the result.

    run: show_progress -> the model's folder, and the number of skipped samples.  kind: of the samples, in the plural.
    """
    from roi_agent.model.train.processes import is_main_process

    begin = time.monotonic()
    target, left_out = run(not as_json)
    minutes = (time.monotonic() - begin) / 60
    if not is_main_process():
        return
    if as_json:
        print_json({"model": str(target), "minutes": minutes, "left_out": left_out})
        return
    if left_out:
        from roi_agent.model.train.report import LEFT_OUT

        out.print(f"{left_out} {kind} were skipped; the reasons are in {folder / LEFT_OUT}", markup=False, soft_wrap=True)
    out.print(f"the model is in {target}, after {minutes:.1f} minutes", markup=False, soft_wrap=True)


def _on_toy_world(config: str, folder: Path, phase: str | None, show: bool) -> tuple[Path, int]:
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", show):
        from roi_agent.model.toy.train.phases import train
        from roi_agent.model.toy.train.settings import TrainSettings
        from roi_agent.model.train.report import count_left_out

    target = train(TrainSettings.load(config), folder, only=phase, show_progress=show)
    return target, count_left_out(folder)


def _on_records(
    config: str,
    folder: Path,
    data: Path,
    start: tuple[str | None, list[str | None]],
    reset: tuple[str, ...],
    processes: int,
    show: bool,
) -> tuple[Path, int]:
    """Train on records.  start: the initial model, and the bases to use if there is none."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", show):
        from roi_agent.model.train.job import RecordJob
        from roi_agent.model.train.report import count_left_out
        from roi_agent.model.train.settings import RecordSettings
        from roi_agent.model.train.starting import Start
        from roi_agent.model.train.training import train_on_records

    job = RecordJob(RecordSettings.load(config), Start(start[0], *start[1]), data, folder, reset)
    target = train_on_records(job, processes=processes, show_progress=show)
    return target, count_left_out(folder)


def _plan(
    config: str,
    data: Path | None,
    start: str | None,
    bases: list[str | None],
    reset: list[str] | None,
    processes: int,
    as_json: bool,
) -> None:
    from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
    from roi_agent.model.train.mixture import open_parts
    from roi_agent.model.train.plan import count_data, estimate
    from roi_agent.model.train.settings import RecordSettings
    from roi_agent.model.train.starting import Start

    settings, counted, processor = RecordSettings.load(config), None, None
    model, random = GPT4RoIConfig.preset(settings.model), tuple(reset or ())
    if start is not None or any(bases):
        given = Start(start, *bases)
        model, processor = given.description(settings)
        random = (*given.random, *random)
    if data is not None and processor is not None:
        parts = open_parts(data, settings.data, conversations=settings.conversations)
        counted = count_data(settings, parts, processor)
    made = estimate(settings, model, processes=processes, random=random, data=counted)
    if as_json:
        print_json(made.to_dict())
        return
    for line in made.lines():
        out.print(line, markup=False, soft_wrap=True)
    if data is None or processor is None:
        out.print("give --data and --from to count steps and tokens", markup=False)
