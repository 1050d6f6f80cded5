"""Commands in processes of their own that need not load the libraries first: each is forked from a process that has.

A new interpreter takes seconds to import torch, transformers and gradio. Where the start itself is tested, start one anyway.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["roi_agent.cli.commands", "roi_agent.server", "roi_agent.ui.mounting"])


class Forked:
    """A running `roi-agent`. stderr: what it writes there, to be read."""

    def __init__(self, arguments: list[str], *, environment: Mapping[str, str], folder: Path) -> None:
        reading, writing = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_run, args=(arguments, dict(environment), folder, writing))
        self._process.start()
        writing.close()
        self.stderr = open(os.dup(reading.fileno()), encoding="utf-8")
        reading.close()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"still running after {timeout} s"
        return code


def _run(arguments: list[str], environment: Mapping[str, str], folder: Path, errors: Connection) -> None:
    """Be the command: in the child process."""
    os.dup2(errors.fileno(), 2)
    errors.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # TMPDIR may have changed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["roi-agent", *arguments]

    from roi_agent.cli import main

    main()
