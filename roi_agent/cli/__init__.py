"""The command `roi-agent`. It parses, calls and renders.

Exit codes: 0 done, 2 the user's input is wrong, 3 the run ended without an answer, 130 stopped by Ctrl-C, 1 anything else.
"""

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from roi_agent.model.errors import InvalidSetting, RoiAgentError, UserError

if TYPE_CHECKING:
    from typer import Typer

    from roi_agent.cli.commands import app as app


def main() -> None:
    """Run the command line; a coded error prints one line without a traceback, and Ctrl-C none, from the first import on.

    With --json, an error is also printed as one JSON object on standard output.
    """
    try:
        from roi_agent.cli.commands import app

        if _wants_json():
            _run_for_a_program(app)
        app(prog_name="roi-agent")
    except RoiAgentError as error:
        _fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _wants_json() -> bool:
    return "--json" in sys.argv[1:]


def _run_for_a_program(app: "Typer") -> NoReturn:
    """Run a command with --json: errors of the command-line parser become coded errors."""
    from typer._click.exceptions import ClickException

    try:
        raise SystemExit(app(prog_name="roi-agent", standalone_mode=False) or 0)
    except ClickException as error:
        raise InvalidSetting(error.format_message(), do="roi-agent COMMAND --help lists the options") from None


def _fail(error: RoiAgentError) -> NoReturn:
    if _wants_json():
        message = "; ".join(filter(None, (error.problem, error.do)))
        from roi_agent.cli.options import print_json

        print_json({"error": {"code": error.code, "problem": error.problem, "do": error.do, "message": message}})
    print(" ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2 if isinstance(error, UserError) else 1)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from roi_agent.cli.commands import app

    return app
