"""`roi-agent evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BaseUrlOption,
    DetectorOfSet,
    DetectorOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelsOption,
    PlannerOption,
    RegionModelOfSet,
    RegionModelOption,
    SegmenterOfSet,
    SegmenterOption,
    among,
    chosen,
    notes,
    out,
    print_json,
)
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.evaluation.report import Report

evaluate_app = Commands(help="Evaluate models and the agent.", no_args_is_help=True)

FolderOption = Annotated[Path | None, typer.Option("--out", help="Folder for report.md and scores.json.", metavar="FOLDER")]
DataOption = Annotated[
    Path,
    typer.Option(help="Folder written by `roi-agent data convert`, or a .jsonl or .parquet file.", metavar="RECORDS"),
]

# For each benchmark: a one-line description and an example.
_BENCHES = {
    "captions": (
        "Region captioning, as in Visual Genome and RefCOCOg: BLEU-4, METEOR, ROUGE-L and CIDEr.",
        "roi-agent evaluate captions --data data/visual-genome-test --region-model gpt4roi-7b",
    ),
    "boxes": (
        "Box classification, as in COCO: by generated answer, and by most likely class.",
        "roi-agent evaluate boxes --data data/coco-val2017 --region-model gpt4roi-7b --limit 500",
    ),
    "vcr": (
        "Visual Commonsense Reasoning: Q->A, QA->R and Q->AR, by likelihood and by generated letter.",
        "roi-agent evaluate vcr --data data/vcr-val --region-model gpt4roi-7b --processes 2",
    ),
    "visual7w": (
        "Visual7W: questions with four options, either texts or boxes.",
        "roi-agent evaluate visual7w --data data/visual7w-test --region-model http://localhost:8000",
    ),
    "pope": (
        "Object hallucination in regions, after POPE: is this a cat? Yes or no.",
        "roi-agent evaluate pope --data data/coco-val2017 --region-model gpt4roi-7b --limit 500",
    ),
}


def _add_bench(name: str, about: str, example: str) -> None:
    """Add a benchmark's command; all benchmarks have the same options."""

    @evaluate_app.command(name, help=about, epilog=f"Example: `{example}`")
    def evaluate_bench(
        data: DataOption,
        region_model: RegionModelOption = "nano",
        folder: Annotated[
            Path | None,
            typer.Option("--out", help="Folder of the run: answers and report.  [default: runs/BENCH-MODEL]", metavar="FOLDER"),
        ] = None,
        images: Annotated[
            Path | None, typer.Option(help="Folder of images.  [default: that of the card, or of the file]", metavar="FOLDER")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of images, drawn at random.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
        shuffled: Annotated[bool, typer.Option(help="Ask every question again with the boxes in wrong places.")] = True,
        shard: Annotated[
            str | None, typer.Option(help="Part of the images to ask about, such as 1/4 for the first of four.", metavar="I/N")
        ] = None,
        processes: Annotated[
            int, typer.Option(min=1, help="Number of processes that share the work, each with its own model.")
        ] = 1,
        from_outputs: Annotated[
            bool, typer.Option("--from-outputs", help="Only recompute the results from the answers in the run's folder.")
        ] = False,
        device: DeviceOption = None,
        dtype: DtypeOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from roi_agent.model.utils.progress import waiting

        with waiting("starting", not as_json):
            from roi_agent.evaluation import running
            from roi_agent.evaluation.outputs import Shard
            from roi_agent.loading import placement
        run_folder = folder or Path("runs") / f"{name}-{_folder_name(region_model)}"
        settings = running.EvaluationSettings(name, data, run_folder, images, limit, seed, shuffled)
        part = None if shard is None else Shard.parse(shard)
        if from_outputs:
            _show(running.report(settings), run_folder, as_json)
            return
        choice = chosen(None, region_model, None, None, device, dtype)
        options: dict[str, Any] = {**placement("ask", choice), "shard": part, "processes": processes}
        _show(running.evaluate(settings, region_model, show_progress=not as_json, **options), run_folder, as_json)


for _name, (_about, _example) in _BENCHES.items():
    _add_bench(_name, _about, _example)


def _show(report: "Report | None", folder: Path, as_json: bool) -> None:
    """Print a report, which is None while other shards are missing."""
    if as_json:
        print_json(report.to_dict() if report else {"figures": None})
    elif report is None:
        out.print("This shard is complete. The results are computed with the last shard.", soft_wrap=True)
    else:
        out.print(report.table())
        notes(report.notes())
        out.print(f"The report is in {folder / 'report.md'}", markup=False, soft_wrap=True)


def _folder_name(model: str) -> str:
    """Return a model's name as part of a folder name."""
    return (
        "".join(
            character if character.isalnum() or character in "._-" else "-" for character in model.removeprefix("http://")
        ).strip("-.")
        or "model"
    )


PARTS = ("ask", "detect", "segment")


@evaluate_app.command("toy", epilog="Example: `roi-agent evaluate toy --only ask --questions 500`")
def evaluate_toy(
    region_model: RegionModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    only: Annotated[
        str | None,
        typer.Option(help="Part to evaluate: ask, detect or segment.  [default: all three]", autocompletion=among(*PARTS)),
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Number of questions per row of the region model's table.")] = 500,
    scenes: Annotated[
        int, typer.Option(min=1, help="Number of scenes for the detector, and a third as many for the segmenter.")
    ] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first held-out scene.")] = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the three models on held-out scenes of the toy world, with chance as the baseline."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.evaluation import toy as evaluation
        from roi_agent.evaluation.outputs import make_folder
        from roi_agent.evaluation.report import write_tables

    if only not in (None, *PARTS):
        raise InvalidSetting(f"there is no part {only!r}", do="use ask, detect or segment")
    if folder is not None:
        make_folder(folder)
    choice = chosen(None, region_model, detector, segmenter, device, dtype)
    sizes = {"questions": questions, "scenes": scenes, "first_seed": seed}
    parts = evaluation.run_parts(choice, [only] if only else PARTS, show_progress=not as_json, **sizes)
    values = {part.role: [row.to_dict() for row in part.rows] for part in parts}
    if folder is not None:
        write_tables(folder, f"Toy world, from scene {seed}", {part.role: part.markdown for part in parts}, values)
    if as_json:
        print_json(values)
        return
    for part in parts:
        out.print(part.table)


@evaluate_app.command("agent", epilog="Example: `roi-agent evaluate agent --questions 50`")
def evaluate_agent(
    planner: PlannerOption = "offline",
    base_url: BaseUrlOption = None,
    models: ModelsOption = "nano",
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    questions: Annotated[int, typer.Option(min=1, help="Number of questions per family.")] = 50,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help='Column to compute, repeatable: "agent", "no detector", "no measuring", "no second look", "whole image".  '
            "[default: all]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first held-out scene.")] = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the agent, and versions of it without some parts, on compositional questions about held-out scenes."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.evaluation import agent as evaluation
        from roi_agent.evaluation.outputs import make_folder
        from roi_agent.evaluation.report import write_tables

    if folder is not None:
        make_folder(folder)
    attempts = evaluation.run_agent(
        planner,
        questions=questions,
        first_seed=seed,
        variants=tuple(only or (*evaluation.VARIANTS, evaluation.DIRECT)),
        show_progress=not as_json,
        base_url=base_url,
        models=chosen(models, region_model, detector, segmenter, device, dtype),
    )
    rows = evaluation.agent_scores(attempts)
    values = [row.to_dict() for row in rows]
    if folder is not None:
        write_tables(folder, f"Agent, from scene {seed}", {planner: evaluation.agent_markdown(rows)}, values)
    if as_json:
        print_json({"rows": values})
    else:
        out.print(evaluation.agent_table(rows, planner))


@evaluate_app.command("natural", epilog="Example: `roi-agent evaluate natural --out natural/`")
def evaluate_natural(
    planner: PlannerOption = "offline",
    base_url: BaseUrlOption = None,
    models: ModelsOption = "nano",
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Number of wordings per intent.  [default: all]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first held-out scene.")] = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the agent on questions as people write them, with typos, follow-ups and two images."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.evaluation import natural as evaluation
        from roi_agent.evaluation.outputs import make_folder
        from roi_agent.evaluation.report import write_tables

    if folder is not None:
        make_folder(folder)
    attempts = evaluation.run_natural(
        planner,
        questions=questions,
        first_seed=seed,
        show_progress=not as_json,
        base_url=base_url,
        models=chosen(models, region_model, detector, segmenter, device, dtype),
    )
    rows = evaluation.natural_scores(attempts)
    values = {"rows": [row.to_dict() for row in rows], "questions": [each.to_dict() for each in attempts]}
    if folder is not None:
        write_tables(folder, f"Natural questions, from scene {seed}", {planner: evaluation.natural_markdown(rows)}, values)
    if as_json:
        print_json(values)
    else:
        out.print(evaluation.natural_table(rows, planner))
