"""`roi-agent convert` and `roi-agent doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from roi_agent.cli.options import BudgetOption, JsonOption, RolesOption, num_bytes, out

app = typer.Typer()


@app.command(
    epilog="Example: `roi-agent convert GPT4RoI-7B-delta-V0/ gpt4roi-7b/ --base llama-7b/ --vision clip-vit-large-patch14/`"
)
def convert(
    source: Annotated[Path, typer.Argument(help="The folder of the published weights, delta or merged.")],
    target: Annotated[Path, typer.Argument(help="The folder to write; must not exist yet.")],
    base: Annotated[Path | None, typer.Option(help="The folder of LLaMA, where the weights are a delta.")] = None,
    vision: Annotated[Path | None, typer.Option(help="The folder of the CLIP vision tower.")] = None,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    as_json: JsonOption = False,
) -> None:
    """Published GPT4RoI weights -> a folder that --model takes. Nothing is written where anything does not fit."""
    from roi_agent.model.checkpoints import convert as run

    report = run(source, target, base=base, vision=vision, dtype=dtype, show_progress=not as_json)
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        out.print(report.summary(), markup=False)


@app.command(epilog="Example: `roi-agent doctor --device detect=cpu,ask=cuda:0 --budget 12GB`")
def doctor(
    folder: Annotated[Path | None, typer.Option(help="Also examine the weights in this folder.")] = None,
    region_model: Annotated[str, typer.Option(help="Plan with this region model.")] = "nano",
    detector: Annotated[str, typer.Option(help="Plan with this detector.")] = "nano",
    segmenter: Annotated[str, typer.Option(help="Plan with this segmenter.")] = "nano",
    device: RolesOption = None,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine can run: devices, memory, versions, whether weights are complete, and where the tools' models go."""
    from roi_agent.loading import load_models
    from roi_agent.model.doctor import examine

    given: dict[str, Any] = {"region_model": region_model, "detector": detector, "segmenter": segmenter}
    plan = load_models(**given, device=device, budget_bytes=num_bytes(budget)).plan()
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
