"""The help of every command as it is shown: nothing of what was written is lost."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from roi_agent.cli import app
from tests.commands import Runner


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def words(text: str) -> list[str]:
    """Without frames, line breaks and the marks of code and lists."""
    return re.sub(r"[`│╭╮╰╯─•]|^ *- ", " ", text, flags=re.MULTILINE).split()


def written(command: Any) -> Iterator[str]:
    """What the source says: the command's own words, those of its options, and the first line of each command below it."""
    yield from (command.help or "", command.epilog or "")
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""
        yield parameter.metavar or ""
    for each in getattr(command, "commands", {}).values():
        yield (each.help or "").split("\n\n")[0]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_all_that_a_help_says_is_shown(path: tuple[str, ...], run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no word is parted
    shown = words(run(*path, "--help").out)
    missing = [word for text in written(COMMANDS[path]) for word in words(text) if word not in shown]
    assert not missing


def test_the_regions_and_brackets_of_these_helps_are_shown(run: Runner) -> None:
    assert run("ask", "--help").out.count("<region1>") == 3 and "<region2>" in run("ask", "--help").out
    assert "[IMAGE]... TASK" in run("run", "--help").out
    assert "[default: the model's own]" in run("detect", "--help").out
