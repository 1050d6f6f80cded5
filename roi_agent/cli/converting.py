"""`roi-agent convert` and `roi-agent doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from roi_agent.cli.options import BudgetOption, JsonOption, RolesDtypeOption, RolesOption, num_bytes, out
from roi_agent.model.errors import InvalidSetting, ModelNotFound

app = typer.Typer()


_CONVERT_EXAMPLES = """Examples:

`roi-agent convert GPT4RoI-7B-delta-V0/ gpt4roi-7b/ --base llama-7b/ --vision clip-vit-large-patch14/`

`roi-agent convert sam_vit_b_01ec64.pth sam-vit-b/`

`roi-agent convert groundingdino_swint_ogc.pth grounding-dino-tiny/ --tokenizer bert-base-uncased/`"""


@app.command(epilog=_CONVERT_EXAMPLES)
def convert(
    source: Annotated[Path, typer.Argument(help="The folder of published GPT4RoI weights, or an original .pth file.")],
    target: Annotated[Path, typer.Argument(help="The folder to write; must not exist yet.")],
    base: Annotated[Path | None, typer.Option(help="GPT4RoI: the folder of LLaMA, where the weights are a delta.")] = None,
    vision: Annotated[Path | None, typer.Option(help="GPT4RoI: the folder of the CLIP vision tower.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Grounding DINO: the folder of bert-base-uncased.  [default: from the hub]")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16 or float32.  [default: float16 for GPT4RoI, else the file's]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Published weights of GPT4RoI, SAM or Grounding DINO -> a folder that the other commands take; whole or not at all."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.model.checkpoints import convert as convert_folder
        from roi_agent.model.checkpoints import convert_original
    if source.is_dir() or not source.exists():
        if tokenizer is not None:
            raise InvalidSetting("--tokenizer belongs to Grounding DINO's file", do="leave it out for a folder")
        chosen = dtype or "float16"
        report = convert_folder(source, target, base=base, vision=vision, dtype=chosen, show_progress=not as_json)
    else:
        if base is not None or vision is not None:
            raise InvalidSetting("--base and --vision belong to GPT4RoI's folders", do="leave them out for a file")
        report = convert_original(source, target, tokenizer=tokenizer, dtype=dtype, show_progress=not as_json)
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        out.print(report.summary(), markup=False, soft_wrap=True)


@app.command(epilog="Example: `roi-agent doctor --device detect=cpu,ask=cuda:0 --budget 12GB`")
def doctor(
    folder: Annotated[Path | None, typer.Option(help="Also examine the weights in this folder.")] = None,
    region_model: Annotated[str, typer.Option(help="Plan with this region model.")] = "nano",
    detector: Annotated[str, typer.Option(help="Plan with this detector.")] = "nano",
    segmenter: Annotated[str, typer.Option(help="Plan with this segmenter.")] = "nano",
    device: RolesOption = None,
    dtype: RolesDtypeOption = None,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine can run: devices, memory, versions, whether weights are complete, and where the tools' models go."""
    from roi_agent.model.utils.progress import waiting

    if folder is not None and not folder.is_dir():
        raise ModelNotFound(f"there is no folder {str(folder)!r}", do="give the folder of a model")
    given: dict[str, Any] = {"region_model": region_model, "detector": detector, "segmenter": segmenter}
    with waiting("looking at this machine", not as_json):
        from roi_agent.doctor import examine
        from roi_agent.loading import load_models

        plan = load_models(**given, device=device, dtype=dtype, budget_bytes=num_bytes(budget)).plan()
        report = examine(folder=folder)
    if as_json:
        print(json.dumps(report.to_dict() | {"plan": [asdict(line) for line in plan]}))
        return
    out.print(report.render())
    table = Table("role", "model", "device", "weights", title="Models of the tools, loaded when first used", title_justify="left")
    for line in plan:
        size = f"{line.weight_bytes / 2**20:,.1f} MiB" if line.weight_bytes else "unknown"
        table.add_row(line.role, line.name, line.device, size)
    out.print(table)
    for name in dict.fromkeys(line.device for line in plan):
        out.print(_verdict(name, [line.weight_bytes for line in plan if line.device == name], num_bytes(budget)))


def _verdict(device: str, sizes: list[int], budget: int | None) -> str:
    """One line on whether the models of a device stay there together."""
    together = f"{device}: {sum(sizes) / 2**20:,.0f} MiB of weights together"
    if budget is None:
        return f"{together}; no budget is set, so all of them stay once they are loaded"
    if sum(sizes) <= budget:
        return f"{together}, within the budget of {budget / 2**20:,.0f} MiB: all of them stay"
    largest = "; the largest alone is over it" if max(sizes) > budget else ""
    return f"{together}, over the budget of {budget / 2**20:,.0f} MiB: the one used longest ago is moved out{largest}"
