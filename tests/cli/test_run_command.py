"""`roi-agent run` and `roi-agent replay` as a user types them."""

import json
import signal
from pathlib import Path

import pytest

from roi_agent.model.domain.nano import NANO
from roi_agent.trace import Trace
from tests.commands import Runner
from tests.forking import program

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCENE, OTHER = str(EXAMPLES / "scene1.png"), str(EXAMPLES / "scene2.png")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_shows_its_steps_and_writes_its_trace(run: Runner, tmp_path: Path) -> None:
    done = run("run", SCENE, "What colour is the largest thing right of the umbrella?", "--out", "run1")
    assert done.code == 0, done.err
    assert done.out.startswith("yellow (region")
    for tool in ("find_regions", "select_regions", "order_regions"):
        assert tool in done.err
    assert "run1/trace.html" in done.err
    trace = Trace.load(tmp_path / "run1")
    assert trace.said in done.out and (tmp_path / "run1" / "answer.png").exists()

    shown = run("replay", "run1")
    assert shown.code == 0 and "order_regions" in shown.out and trace.said in shown.out
    again = run("replay", "run1", "--model", "nano", "--planner", "offline", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["differences"] == []


@pytest.mark.sweep
@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_was_killed_while_it_wrote_its_trace_can_be_had_again(run: Runner, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "run1").mkdir()
    command = ["run", SCENE, "What is the umbrella?", "--out", "run1"]
    code = f"""
import os, signal, sys
from roi_agent.cli import main
from roi_agent.trace import Trace
Trace.to_html = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # workspace and picture are written, page and steps are not
sys.argv = ["roi-agent", *{command!r}]
main()
"""
    assert program(code, folder=tmp_path).wait() == -signal.SIGKILL and list(tmp_path.rglob("workspace.json"))
    assert not (tmp_path / "run1" / "workspace").exists()
    again = run(*command)
    assert again.code == 0, again.err
    assert [each.name for each in tmp_path.iterdir()] == ["run1"] and Trace.load(tmp_path / "run1").status == "answered"
    assert {each.name for each in (tmp_path / "run1").iterdir()} == {"trace.json", "trace.html", "answer.png", "workspace"}


def test_json_is_for_programs(run: Runner, tmp_path: Path) -> None:
    done = run("run", SCENE, OTHER, "Is there an umbrella in image1?", "--json")
    assert done.code == 0 and done.err == ""
    result = json.loads(done.out)
    assert result["said"].startswith("yes (region") and result["status"] == "answered" and result["usage"]["tool_calls"] > 0


def test_conversations_continue_with_the_next_command(run: Runner, tmp_path: Path) -> None:
    first = run("run", SCENE, "Find the umbrella.", "--folder", "kept", "--thread", "walk")
    second = run("run", "What colour is it?", "--folder", "kept", "--thread", "walk")
    assert (first.code, second.code) == (0, 0), second.err
    assert second.out.startswith("orange (region1)")


def test_a_person_at_the_terminal_is_asked(run: Runner, tmp_path: Path) -> None:
    command = ("run", SCENE, "Is there an umbrella?", "--approve", "detect")
    allowed = run(*command, stdin="y\n")
    assert allowed.out.startswith("yes (region1)") and "run it? [y/N]" in allowed.err
    refused = run(*command)
    assert refused.code == 3 and "find_regions was not approved" in refused.out


@pytest.mark.parametrize(
    "words,said",
    [
        ((SCENE,), "the task is missing; write roi-agent run IMAGE"),
        (("What is it?",), "there is no image"),
        (("nowhere.png", "What is it?"), "image_unreadable: there is no file 'nowhere.png'"),
        ((SCENE, "What is it?", "--planner", "gpt-4o"), "there is no planner 'gpt-4o'"),
        ((SCENE, "What is it?", "--approve", "thinking"), "there is no tool 'thinking'; use detect"),
        ((SCENE, "What is it?", "--thread", "walk"), "--thread is given without --folder"),
        ((SCENE, "What is it?", "--price", "cheap"), "the price 'cheap' is not two numbers"),
        ((SCENE, "What is it?", "--seconds", "0"), "the budget's seconds is 0"),
        ((SCENE, "What is it?", "--out", "."), "'.' already exists"),
        ((SCENE, "What is <region1>?", "--box", "1,2,3"), "box_format_unknown"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_two(run: Runner, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "something").touch()
    done = run("run", *words)
    mistake = done.err.removeprefix(f"{NANO}\n")
    assert done.code == 2 and said in mistake and mistake.count("\n") == 1 and "Traceback" not in mistake


def test_a_trace_that_is_none_is_refused(run: Runner, tmp_path: Path) -> None:
    done = run("replay", "nowhere")
    assert done.code == 2 and "trace_unreadable: 'nowhere' cannot be read" in done.err
