"""`roi-agent evaluate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.options import DeviceOption, DtypeOption, JsonOption, ModelOption, among, notes, out
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.evaluation.report import Report

evaluate_app = typer.Typer(help="Measure a model.", no_args_is_help=True)

FolderOption = Annotated[Path | None, typer.Option("--out", help="Also write report.md and scores.json into this folder.")]
DataOption = Annotated[Path, typer.Option(help="A folder that `roi-agent data convert` wrote, or a .jsonl or .parquet file.")]

# For each bench: what it measures, in a line, and an example.
_BENCHES = {
    "captions": (
        "Captions of regions, as in Visual Genome and RefCOCOg: BLEU-4, METEOR, ROUGE-L and CIDEr.",
        "roi-agent evaluate captions --data data/visual-genome-test --model gpt4roi-7b",
    ),
    "boxes": (
        "Classes of boxes, as in COCO: by a written answer, and by the likeliest class.",
        "roi-agent evaluate boxes --data data/coco-val2017 --model gpt4roi-7b --limit 500",
    ),
    "vcr": (
        "Visual Commonsense Reasoning: Q->A, QA->R and Q->AR, by likelihood and by written letters.",
        "roi-agent evaluate vcr --data data/vcr-val --model gpt4roi-7b --processes 2",
    ),
    "visual7w": (
        "Visual7W: questions with four options, which are texts or boxes.",
        "roi-agent evaluate visual7w --data data/visual7w-test --model http://localhost:8000",
    ),
    "pope": (
        "Hallucination about regions, after POPE: is this a cat? Yes or no.",
        "roi-agent evaluate pope --data data/coco-val2017 --model gpt4roi-7b --limit 500",
    ),
}


def _add_bench(name: str, about: str, example: str) -> None:
    """A command of that name; all of them take the same options."""

    @evaluate_app.command(name, help=about, epilog=f"Example: `{example}`")
    def evaluate_bench(
        data: DataOption,
        model: ModelOption = "nano",
        folder: Annotated[
            Path | None, typer.Option("--out", help="The run's folder: answers and report.  [default: runs/BENCH-MODEL]")
        ] = None,
        images: Annotated[Path | None, typer.Option(help="The folder of images.  [default: as the data set says]")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Ask about so many images only, drawn by the seed.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
        shuffled: Annotated[bool, typer.Option(help="Ask all once more with the boxes in wrong places.")] = True,
        shard: Annotated[str | None, typer.Option(help="Only this part of the images, as 1/4.", metavar="I/N")] = None,
        processes: Annotated[int, typer.Option(min=1, help="Share the work, each with a model of its own.")] = 1,
        from_outputs: Annotated[
            bool, typer.Option("--from-outputs", help="Only compute the figures again, from the answers in the run's folder.")
        ] = False,
        device: DeviceOption = None,
        dtype: DtypeOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from roi_agent.model.utils.progress import waiting

        with waiting("starting", not as_json):
            from roi_agent.evaluation import running
            from roi_agent.evaluation.outputs import Shard
        where = folder or Path("runs") / f"{name}-{_plain(model)}"
        settings = running.EvaluationSettings(name, data, where, images, limit, seed, shuffled)
        part = None if shard is None else Shard.parse(shard)
        if from_outputs:
            _show(running.report(settings), where, as_json)
            return
        options: dict[str, Any] = {"device": device, "dtype": dtype, "shard": part, "processes": processes}
        _show(running.evaluate(settings, model, show_progress=not as_json, **options), where, as_json)


for _name, (_about, _example) in _BENCHES.items():
    _add_bench(_name, _about, _example)


def _show(report: "Report | None", folder: Path, as_json: bool) -> None:
    if report is None:
        if as_json:
            print("null")
        else:
            out.print("this shard is done; the figures come with the last of the others", soft_wrap=True)
    elif as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        out.print(report.table())
        notes(report.notes())
        out.print(f"the report is {folder / 'report.md'}", markup=False, soft_wrap=True)


def _plain(model: str) -> str:
    """A model's name as part of a folder's."""
    return (
        "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in model.removeprefix("http://")).strip("-.") or "model"
    )


@evaluate_app.command("toy", epilog="Example: `roi-agent evaluate toy --only ask --questions 500`")
def evaluate_toy(
    model: ModelOption = "nano",
    detector: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    segmenter: Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")] = "nano",
    only: Annotated[
        str | None,
        typer.Option(help="Only one of them: ask, detect or segment.", autocompletion=among("ask", "detect", "segment")),
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions for each row of the region model's table.")] = 500,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes for the detector; a third of them for the segmenter.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="The first held-out scene.")] = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """How well the three models answer, find and outline in held-out scenes of the toy world, beside chance."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.evaluation import models as evaluation
        from roi_agent.evaluation.outputs import make_folder
        from roi_agent.evaluation.report import write_tables
        from roi_agent.loading import load_detector, load_segmenter

    if only not in (None, "ask", "detect", "segment"):
        raise InvalidSetting(f"there is no part {only!r}", do="use ask, detect or segment")
    if folder is not None:
        make_folder(folder)
    parts: dict[str, Any] = {}
    show = not as_json
    if only in (None, "ask"):
        asked: dict[str, Any] = {"questions": questions, "first_seed": seed, "device": device, "dtype": dtype}
        rows = evaluation.run_toy(model, show_progress=show, **asked)
        parts["ask"] = (rows, evaluation.toy_table(rows, model), evaluation.toy_markdown(rows))
    if only in (None, "detect"):
        finder = load_detector(detector, device=device, dtype=dtype)
        found = evaluation.run_detection(finder, scenes=scenes, first_seed=seed, show_progress=show)
        parts["detect"] = (found, evaluation.detection_table(found, detector), evaluation.detection_markdown(found))
    if only in (None, "segment"):
        outliner = load_segmenter(segmenter, device=device, dtype=dtype)
        outlined = evaluation.run_segmentation(outliner, scenes=max(1, scenes // 3), first_seed=seed, show_progress=show)
        parts["segment"] = (
            outlined,
            evaluation.segmentation_table(outlined, segmenter),
            evaluation.segmentation_markdown(outlined),
        )
    values = {name: [row.to_dict() for row in rows] for name, (rows, _, _) in parts.items()}
    if folder is not None:
        write_tables(folder, f"Toy world, from scene {seed}", {name: text for name, (_, _, text) in parts.items()}, values)
    if as_json:
        print(json.dumps(values))
        return
    for _, table, _ in parts.values():
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
    dtype: DtypeOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """How well the agent answers compositional questions about held-out scenes, beside itself with parts left out."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.evaluation import agent as evaluation
        from roi_agent.evaluation.outputs import make_folder
        from roi_agent.evaluation.report import write_tables

    if folder is not None:
        make_folder(folder)
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
        dtype=dtype,
    )
    rows = evaluation.agent_scores(attempts)
    values = [row.to_dict() for row in rows]
    if folder is not None:
        write_tables(folder, f"Agent, from scene {seed}", {planner: evaluation.agent_markdown(rows)}, values)
    if as_json:
        print(json.dumps(values))
    else:
        out.print(evaluation.agent_table(rows, planner))
