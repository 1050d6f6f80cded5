"""`roi-agent convert` and `roi-agent doctor`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from roi_agent.cli.options import JsonOption, out

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


@app.command(epilog="Example: `roi-agent doctor --json`")
def doctor(
    folder: Annotated[Path | None, typer.Option(help="Also examine the weights in this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine can run: devices, memory, versions, and whether weights are complete."""
    from roi_agent.model.doctor import examine

    report = examine(folder=folder)
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        out.print(report.render())
