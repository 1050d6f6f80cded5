"""Commands run in this process, as a user types them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any, Protocol

import pytest
import typer

from roi_agent import cli


@dataclass(frozen=True)
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Runner(Protocol):
    """Runs `roi-agent` in this process."""

    def __call__(self, *arguments: str, stdin: str = "") -> Run: ...


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    def call(*arguments: str, stdin: str = "") -> Run:
        monkeypatch.setattr(sys, "argv", ["roi-agent", *arguments])
        monkeypatch.setattr(sys, "stdin", StringIO(stdin))
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return Run(int(stopped.value.code or 0), printed.out, printed.err)

    return call


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _commands(each, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))  # with the groups, by their words
