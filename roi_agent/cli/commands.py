"""The application with all commands."""

import typer

from roi_agent.cli import asking, chatting, converting, data, evaluating, finding, running, serving, serving_mcp, training
from roi_agent.cli.options import VersionOption

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
for commands in (asking, chatting, running, finding, serving, serving_mcp, training, converting):
    app.registered_commands += commands.app.registered_commands
app.add_typer(evaluating.evaluate_app, name="evaluate")
app.add_typer(data.app, name="data")


@app.callback()
def roi_agent(version: VersionOption = False) -> None:
    """Point at regions of an image and ask about them."""
