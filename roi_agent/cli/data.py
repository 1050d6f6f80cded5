"""`roi-agent data`: data sets, made, looked at and counted."""

import typer

from roi_agent.cli.generating import EPILOG, generate_command

app = typer.Typer(help="Data sets of regions and conversations.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Data sets of regions and conversations."""


app.command("generate", epilog=EPILOG)(generate_command)
