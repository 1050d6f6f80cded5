"""`roi-agent convert` and `roi-agent doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BudgetOption,
    DetectorOfSet,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelsOption,
    RegionModelOfSet,
    SegmenterOfSet,
    chosen,
    out,
    print_json,
)
from roi_agent.model.errors import InvalidSetting, ModelNotFound

app = Commands()


_CONVERT_EXAMPLES = """Examples:

`roi-agent convert GPT4RoI-7B-delta-V0/ gpt4roi-7b/ --base llama-7b/ --vision clip-vit-large-patch14/`

`roi-agent convert sam_vit_b_01ec64.pth sam-vit-b/`

`roi-agent convert groundingdino_swint_ogc.pth grounding-dino-tiny/ --tokenizer bert-base-uncased/`"""


@app.command(epilog=_CONVERT_EXAMPLES)
def convert(
    source: Annotated[
        Path, typer.Argument(help="Folder of published GPT4RoI weights, or an original .pth file.", metavar="SOURCE")
    ],
    target: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.", metavar="FOLDER")],
    base: Annotated[
        Path | None, typer.Option(help="GPT4RoI: folder of LLaMA, for weights that are a delta on it.", metavar="FOLDER")
    ] = None,
    vision: Annotated[Path | None, typer.Option(help="GPT4RoI: folder of the CLIP vision tower.", metavar="FOLDER")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Grounding DINO: folder of bert-base-uncased.  [default: from the hub]", metavar="FOLDER"),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Weight type to write: float16, bfloat16 or float32.  [default: float16 for GPT4RoI, else that of the file]",
            metavar="DTYPE",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Convert published weights of GPT4RoI, SAM or Grounding DINO to a folder that the other commands take.

    The folder is written whole or not at all.
    """
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.model.checkpoints import convert as convert_folder
        from roi_agent.model.checkpoints import convert_original
    if source.is_dir() or not source.exists():
        if tokenizer is not None:
            raise InvalidSetting("--tokenizer is only for a Grounding DINO file", do="omit it for a folder")
        output_dtype = dtype or "float16"
        report = convert_folder(source, target, base=base, vision=vision, dtype=output_dtype, show_progress=not as_json)
    else:
        if base is not None or vision is not None:
            raise InvalidSetting("--base and --vision are only for GPT4RoI folders", do="omit them for a file")
        report = convert_original(source, target, tokenizer=tokenizer, dtype=dtype, show_progress=not as_json)
    if as_json:
        print_json(report.to_dict())
    else:
        out.print(report.summary(), markup=False, soft_wrap=True)


@app.command(epilog="Example: `roi-agent doctor --device detect=cpu,ask=cuda:0 --budget 12GB`")
def doctor(
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Folder of another model to examine.", metavar="FOLDER")
    ] = None,
    models: ModelsOption = "nano",
    region_model: RegionModelOfSet = None,
    detector: DetectorOfSet = None,
    segmenter: SegmenterOfSet = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report what this machine can run: devices, memory, versions, complete or broken weights, and where models are placed."""
    from roi_agent.model.utils.progress import waiting

    if weights is not None and not weights.is_dir():
        raise ModelNotFound(f"there is no folder {str(weights)!r}", do="give the folder of a model")
    choice = chosen(models, region_model, detector, segmenter, device, dtype, budget)
    with waiting("examining this machine", not as_json):
        from roi_agent.doctor import examine
        from roi_agent.loading import load_choice

        plan = load_choice(choice).plan()
        report = examine(folder=weights)
    if as_json:
        print_json(report.to_dict() | {"plan": [asdict(line) for line in plan]})
        return
    out.print(report.render())
    table = Table("role", "model", "device", "weights", title="Models (loaded on first use)", title_justify="left")
    for line in plan:
        size = f"{line.weight_bytes / 2**20:,.1f} MiB" if line.weight_bytes else "unknown"
        table.add_row(line.role, line.name, line.device, size)
    out.print(table)
    for name in dict.fromkeys(line.device for line in plan):
        out.print(_verdict(name, [line.weight_bytes for line in plan if line.device == name], choice.budget_bytes))


def _verdict(device: str, sizes: list[int], budget: int | None) -> str:
    """Return a line on whether a device's models stay loaded together."""
    total = f"{device}: {sum(sizes) / 2**20:,.0f} MiB of weights in total"
    if budget is None:
        return f"{total}. No budget is set; models stay loaded."
    if sum(sizes) <= budget:
        return f"{total}, within the budget of {budget / 2**20:,.0f} MiB: all models stay loaded."
    largest = " The largest alone exceeds it." if max(sizes) > budget else ""
    return f"{total}, over the budget of {budget / 2**20:,.0f} MiB: the least recently used model is moved out.{largest}"
