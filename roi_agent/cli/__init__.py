"""The command `roi-agent`. It parses, calls and renders.

Exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C, 1 anything else.
"""

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from roi_agent.model.errors import RoiAgentError, UserError

if TYPE_CHECKING:
    from roi_agent.cli.commands import app as app


def main() -> None:
    """Run the command line; a coded error is one line and no traceback, and so is Ctrl-C, from the first import on."""
    try:
        from roi_agent.cli.commands import app

        app(prog_name="roi-agent")
    except RoiAgentError as error:
        _fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _fail(error: RoiAgentError) -> NoReturn:
    print(" ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2 if isinstance(error, UserError) else 1)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from roi_agent.cli.commands import app

    return app
