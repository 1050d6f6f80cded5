"""The command `roi-agent`. It parses, calls and renders; exit codes: 0 done, 2 the input is wrong, 1 anything else."""

import sys
from typing import NoReturn

import typer

from roi_agent.cli import asking, converting, data, finding, running, serving, training
from roi_agent.model.errors import RoiAgentError, UserError

app = typer.Typer(
    help="Point at regions of an image and ask about them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for commands in (asking, running, finding, serving, training, converting):
    app.registered_commands += commands.app.registered_commands
app.add_typer(training.evaluate_app, name="evaluate")
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; a coded error is one line and no traceback."""
    try:
        app(standalone_mode=True)
    except RoiAgentError as error:
        _fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _fail(error: RoiAgentError) -> NoReturn:
    print(" ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2 if isinstance(error, UserError) else 1)
