"""`roi-agent scenes`, `roi-agent train` and `roi-agent evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any

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


_TRAIN_EXAMPLES = """Examples:

`roi-agent train nano --out runs/nano`

`roi-agent train nano-boxes --data my-sets/ --from nano --out runs/mine`

`roi-agent train stage1-7b --data sets/ --language-model vicuna-7b/ --vision clip-vit-large-patch14/ --processes 8`

`roi-agent train stage2-7b --data sets/ --from runs/stage1-7b/model --processes 8 --plan`"""


@app.command(epilog=_TRAIN_EXAMPLES)
def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a shipped configuration, such as nano, nano-boxes, stage2-7b or lora-7b.")
    ],
    folder: Annotated[Path | None, typer.Option("--out", help="The run's folder.  [default: runs/NAME]")] = None,
    phase: Annotated[str | None, typer.Option(help="Toy world: run only this phase of the configuration.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Records: the folder that holds the data sets that the configuration names.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Records: the model to start from: nano, or a folder.", metavar="FOLDER")
    ] = None,
    language_model: Annotated[Path | None, typer.Option(help="Records: start from this language model's folder ...")] = None,
    vision: Annotated[Path | None, typer.Option(help="... and this vision tower's ...")] = None,
    projector: Annotated[Path | None, typer.Option(help="... with LLaVA's projector, a file.")] = None,
    reset: Annotated[list[str] | None, typer.Option(help="Records: start this part from random weights: region_encoder.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Records: processes that share the work, one for each GPU.")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Records: only say what it would take.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model, on the toy world or on records; the same command goes on where an earlier run was cut."""
    require("accelerate", "datasets", "peft", "tensorboard", "yaml", extra="train")
    import time

    from roi_agent.model.train.settings import TrainSettings, read_values

    begin = time.monotonic()
    folder = folder or Path("runs") / Path(config).stem
    given = (data, start, language_model, vision, projector, reset)
    if "phases" in read_values(config):
        if any(given) or processes > 1 or plan:
            raise InvalidSetting(f"{config} trains on the toy world", do="leave out the options for records")
        from roi_agent.model.train.loop import train as run

        target = run(TrainSettings.load(config), folder, only=phase)
    else:
        if phase is not None:
            raise InvalidSetting(f"{config} has no phases", do="leave out --phase")
        bases = [str(each) if each else None for each in (language_model, vision, projector)]
        if plan:
            return _plan(config, data, start, bases, reset, processes, as_json)
        from roi_agent.model.train.record_job import RecordJob
        from roi_agent.model.train.record_settings import RecordSettings
        from roi_agent.model.train.record_training import train_on_records
        from roi_agent.model.train.starting import Start

        if data is None:
            raise InvalidSetting("no data is named", do="give --data, the folder that holds the data sets")
        job = RecordJob(RecordSettings.load(config), Start(start, *bases), data, folder, tuple(reset or ()))
        target = train_on_records(job, processes=processes, show_progress=not as_json)
    minutes = (time.monotonic() - begin) / 60
    if as_json:
        print(json.dumps({"model": str(target), "minutes": minutes}))
    else:
        out.print(f"the model is in {target}, after {minutes:.1f} minutes", markup=False, soft_wrap=True)


def _plan(
    config: str,
    data: Path | None,
    start: str | None,
    bases: list[str | None],
    reset: list[str] | None,
    processes: int,
    as_json: bool,
) -> None:
    from roi_agent.model.configuration import GPT4RoIConfig
    from roi_agent.model.train.mixture import open_parts
    from roi_agent.model.train.plan import count_data, make_plan
    from roi_agent.model.train.record_settings import RecordSettings
    from roi_agent.model.train.starting import Start

    settings, counted, processor = RecordSettings.load(config), None, None
    model = GPT4RoIConfig.preset(settings.model)
    if start is not None or any(bases):
        model, processor = Start(start, *bases).description()
    if data is not None and processor is not None:
        parts = open_parts(data, settings.data, conversations=settings.conversations)
        counted = count_data(settings, parts, processor)
    made = make_plan(settings, model, processes=processes, reset=reset or (), data=counted)
    if as_json:
        print(json.dumps(made.to_dict()))
        return
    for line in made.lines():
        out.print(line, markup=False, soft_wrap=True)
    if data is None or processor is None:
        out.print("give --data and --from to count steps and tokens", markup=False)


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
