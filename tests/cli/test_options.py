"""One name for one thing: an option means the same in every command that has it, and earlier names of options still work."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMANDS, Runner

SCENE = str(Path(__file__).parents[2] / "examples" / "scene1.png")
# Where one name says different things about different commands: how many, where from, a picture of what.
FREE = {"help", "count", "seed", "only", "questions", "scenes", "images", "picture", "port", "point", "out", "dtype", "limit"}
FREE |= {"data", "vision", "processes"}  # of training, and of others
POSITIONALS = {
    "IMAGE",
    "[IMAGE]...",
    "[IMAGE] QUESTION",
    "[IMAGE]... QUESTION",
    "IMAGE... FOLDER",
    "FOLDER",
    "SOURCE",
    "RECORDS",
    "PHRASES",
    "CONFIG",
    "NAME",
}


def options() -> dict[str, dict[str, Any]]:
    """The commands of each visible option."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for path, command in COMMANDS.items():
        for each in command.params:
            if each.param_type_name == "option":
                found[each.opts[0].removeprefix("--")][" ".join(path)] = each
    return found


def test_an_option_says_the_same_in_every_command() -> None:
    for name, by_command in options().items():
        if name not in FREE:
            kinds = {(each.help, each.metavar, each.is_flag, each.multiple) for each in by_command.values()}
            assert len(kinds) == 1, (name, list(by_command))


def test_models_have_the_same_names_everywhere() -> None:
    found = options()
    assert "model" not in found
    assert {"ask", "chat", "run", "replay", "serve", "mcp", "doctor", "evaluate toy"} <= set(found["region-model"])
    assert {"detect", "run", "evaluate agent", "data generate"} <= set(found["detector"])
    assert {"run", "replay", "serve", "mcp", "doctor", "evaluate agent", "evaluate natural"} == set(found["models"])
    assert set(found["folder"]) == {"run"}, "where conversations are kept, and nothing else"


def test_only_what_has_no_default_is_required() -> None:
    required = {(name, path) for name, by_command in options().items() for path, each in by_command.items() if each.required}
    assert required == {("data", f"evaluate {bench}") for bench in ("captions", "boxes", "vcr", "visual7w", "pope")}


@pytest.mark.parametrize("path", [path for path, each in COMMANDS.items() if not hasattr(each, "commands")], ids=" ".join)
def test_positionals_have_the_same_names_everywhere(path: tuple[str, ...]) -> None:
    assert {each.metavar for each in COMMANDS[path].params if each.param_type_name == "argument"} <= POSITIONALS


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (("ask",), "[OPTIONS] [IMAGE] QUESTION"),
        (("run",), "[OPTIONS] [IMAGE]... QUESTION"),
        (("detect",), "[OPTIONS] IMAGE PHRASES"),
        (("segment",), "[OPTIONS] [IMAGE]"),
        (("mcp",), "[OPTIONS] [IMAGE]..."),
        (("data", "generate"), "[OPTIONS] IMAGE... FOLDER"),
    ],
)
def test_the_usage_brackets_only_what_may_be_left_out(run: Runner, command: tuple[str, ...], usage: str) -> None:
    shown = " ".join(run(*command, "--help").out.split())
    assert f"Usage: roi-agent {' '.join(command)} {usage} " in shown
    assert ("[required]" in shown) == (command not in (("segment",), ("mcp",)))


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (("ask", SCENE, "What?"), "region_model"),
        (("chat", SCENE), "region_model"),
        (("run", SCENE, "What?"), "region_model"),
        (("replay", "run1"), "region_model"),
        (("serve",), "region_model"),
        (("mcp",), "region_model"),
        (("evaluate", "toy"), "region_model"),
        (("evaluate", "agent"), "region_model"),
        (("evaluate", "pope", "--data", "records"), "region_model"),
        (("data", "generate", "a", "b"), "region_model"),
        (("detect", SCENE, "star"), "detector"),
        (("segment", SCENE), "segmenter"),
    ],
    ids=lambda each: " ".join(each).replace(SCENE, "IMAGE") if isinstance(each, tuple) else each,
)
@pytest.mark.parametrize("given", [["--model", "mine"], ["--model=mine"]])
def test_model_is_an_alias_that_help_does_not_show(run: Runner, command: tuple[str, ...], meant: str, given: list[str]) -> None:
    path = max((each for each in COMMANDS if command[: len(each)] == each), key=len)
    parsed = COMMANDS[path].make_context(path[-1], [*command[len(path) :], *given])
    assert parsed.params[meant] == "mine"
    assert "--model " not in run(*path, "--help").out.replace("│", " ")


def test_the_doctor_still_takes_its_folder(run: Runner) -> None:
    done = run("doctor", "--folder", "missing")
    assert done.code == 2 and "there is no folder 'missing'" in done.err
    assert "--folder" not in run("doctor", "--help").out


def test_a_set_of_models_is_the_default_of_each_role(run: Runner) -> None:
    done = run("run", SCENE, "What is left of the star?", "--models", "none", "--detector", "missing")
    assert done.code == 2 and "'missing'" in done.err
    done = run("run", SCENE, "What is left of the star?", "--models", "all")
    assert (done.code, done.err) == (2, "invalid_setting: there is no model set 'all'; use nano or none\n")
    refused = run("run", SCENE, "How many flags are there?", "--models", "none")
    assert refused.code == 3


def test_devices_by_role_are_taken_by_commands_of_one_model(run: Runner) -> None:
    done = run("ask", SCENE, "What is <region1>?", "--point", "200,280", "--device", "segment=cpu,ask=cpu")
    assert done.code == 0, done.err
    for command in (("ask", SCENE, "What?"), ("detect", SCENE, "star"), ("chat", SCENE)):
        done = run(*command, "--device", "look=cpu")
        assert done.code == 2 and "invalid_setting: the device 'look=cpu' is unclear" in done.err


def test_a_question_without_quotes_is_one_line(run: Runner) -> None:
    done = run("ask", SCENE, "What", "is", "it?")
    assert done.code == 2 and done.err.startswith("invalid_setting: unexpected argument 'is'") and done.err.count("\n") == 1
