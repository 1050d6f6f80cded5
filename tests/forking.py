"""Processes that need not load the libraries first: each is forked from a process that has.

A new interpreter takes seconds to import torch, transformers and gradio. Where the start or the end of the interpreter is
tested, start one anyway: functions registered with `atexit` do not run in these.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["roi_agent.cli.commands", "roi_agent.server", "roi_agent.ui.mounting"])


class Forked:
    """A running process.

    out, errors: the lines that it has written so far to standard output and standard error. stdin: with `listens`, a pipe to it.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        new_session: bool = False,
        listens: bool = False,
    ) -> None:
        read, write = CONTEXT.Pipe(duplex=False)
        self.stdin = os.fdopen(os.dup(write.fileno()), "w", encoding="utf-8")
        write.close()
        if not listens:
            self.stdin.close()
        self.out, self.errors = list[str](), list[str]()
        (out, to_out), (errors, to_errors) = CONTEXT.Pipe(duplex=False), CONTEXT.Pipe(duplex=False)
        self._readers = [_reader(out, self.out), _reader(errors, self.errors)]
        surroundings = dict(os.environ if environment is None else environment), folder, new_session
        self._process = CONTEXT.Process(target=_work, args=(work, arguments, surroundings, (read, to_out, to_errors)))
        self._process.start()
        for each in (read, to_out, to_errors):
            each.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 120) -> int:
        """The exit status once it has ended; `out` and `errors` are complete then."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"still running after {timeout} s"
        for reader in self._readers:
            reader.join(10)  # a child of its own may hold the stream
        self.stdin.close()
        return code


def command(*arguments: str, **options: Any) -> Forked:
    """`roi-agent` with these arguments. options: of Forked."""
    return Forked(_command, arguments, **options)


def program(code: str, *arguments: str, **options: Any) -> Forked:
    """`python -c CODE` with these arguments. options: of Forked."""
    return Forked(_program, code, arguments, **options)


def _reader(stream: Connection, lines: list[str]) -> threading.Thread:
    def read() -> None:
        with open(os.dup(stream.fileno()), encoding="utf-8", errors="replace") as text:
            stream.close()
            lines.extend(text)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return reader


# In the process from here on.


def _work(
    work: Callable[..., object],
    arguments: tuple[Any, ...],
    surroundings: tuple[Mapping[str, str], Path, bool],
    streams: tuple[Connection, Connection, Connection],
) -> None:
    environment, folder, new_session = surroundings
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # multiprocessing has closed the other one
    if new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # TMPDIR may be another one
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work(*arguments)


def _command(arguments: tuple[str, ...]) -> None:
    from roi_agent.cli import main

    sys.argv = ["roi-agent", *arguments]
    main()


def _program(code: str, arguments: tuple[str, ...]) -> None:
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
