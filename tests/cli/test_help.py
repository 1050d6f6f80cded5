"""The help of every command as it is shown: nothing of what was written is lost."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands import COMMANDS, Runner


def words(text: str) -> list[str]:
    """Without frames, line breaks and the marks of code and lists."""
    return re.sub(r"[│╭╮╰╯─•]|^ *- ", " ", text.replace("`", ""), flags=re.MULTILINE).split()


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
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 200)  # so that no word is parted
    shown = words(run(*path, "--help").out)
    missing = [word for text in written(COMMANDS[path]) for word in words(text) if word not in shown]
    assert not missing


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("ask", 'then the question, in which <region1>, ... are the boxes, then the points.'),
        ("ask", '"What is <region1>?" --point 200,280'),
        ("ask", '"What is <region2>?"'),
        ("run", "[IMAGE]... QUESTION"),
        ("detect", "Minimum score, 0 to 1. [default: the model's own]"),
    ],
)  # fmt: skip
def test_regions_and_brackets_are_shown(command: str, text: str, run: Runner) -> None:
    assert text in " ".join(words(run(command, "--help").out))
