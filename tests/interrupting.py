"""Commands in processes of their own that are stopped by Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import forking

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "roi_agent.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TERM": "xterm"}
_PATIENCE_S = 10.0  # for a worker to see that nobody needs it any more


def interrupted(arguments: list[str], ready: Callable[[str], object], folder: Path, *, all_hear: bool = True) -> tuple[int, str]:
    """Start a command and stop it once it is ready; exit code as a shell sees it, and its errors.

    ready: is asked with its errors so far.
    all_hear: as Ctrl-C in a terminal, which reaches all processes of the command; else only the first one receives it.
    """
    process = forking.command(*arguments, environment=ENVIRONMENT, folder=folder, new_session=True)
    deadline = time.monotonic() + 240
    while not ready("".join(process.errors)) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    (os.killpg if all_hear else os.kill)(process.pid, signal.SIGINT)
    code = process.wait()
    deadline = time.monotonic() + _PATIENCE_S
    while in_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not in_group(process.pid), "processes are left"
    # A slow machine may show that it is at work.
    errors = "".join(line for line in process.errors if not re.fullmatch(r".* \.\.\. \d+ s\n", line))
    assert "Traceback" not in errors
    return (128 - code if code < 0 else code), errors


def in_group(group: int) -> list[str]:
    """The command lines of the processes of a group."""
    found = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    listed = [line.split(maxsplit=2) for line in found]
    return [name for number, state, name in listed if int(number) == group and not state.startswith("Z")]
