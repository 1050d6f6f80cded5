"""What a command's exit code says: 0 done, 2 the user's input is wrong, 3 the run ended without an answer, 1 anything else."""

import json
from pathlib import Path
from typing import Any

import pytest

from roi_agent import build_agent
from roi_agent.model.errors import ModelNotFound
from roi_agent.trace import Trace
from tests.commands import Runner

SCENE = str(Path(__file__).parents[2] / "examples" / "scene1.png")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("task", "options", "status"),
    [
        ("Translate this into French.", (), "refused"),
        ("What colour is the largest thing right of the umbrella?", ("--tokens", "1"), "partial"),
        ("Is there an umbrella?", (), "answered"),
    ],
)
def test_a_run_without_an_answer_ends_with_3(run: Runner, task: str, options: tuple[str, ...], status: str) -> None:
    code = 0 if status == "answered" else 3
    done = run("run", SCENE, task, *options, "--out", "run1")
    assert (done.code, Trace.load("run1").status) == (code, status), done.out + done.err
    assert done.out.strip() and "Traceback" not in done.err
    as_json = run("run", SCENE, task, *options, "--json")
    assert (as_json.code, json.loads(as_json.out)["status"]) == (code, status)
    assert run("replay", "run1").code == code and run("replay", "run1", "--json").code == code
    assert run("replay", "run1", "--model", "nano").code == 0, "the steps ran again, which is all that was asked"


MODELS = [
    ("run", SCENE, "What is this?", "--model", "missing"),
    ("run", SCENE, "What is this?", "--detector", "missing"),
    ("run", SCENE, "What is this?", "--segmenter", "no/such/folder/"),
    ("run", SCENE, "What is this?", "--segmenter", "./missing"),
    ("detect", SCENE, "star", "--model", "missing"),
    ("segment", SCENE, "--model", "missing"),
    ("ask", SCENE, "What?", "--model", "missing"),
    ("ask", SCENE, "What is <region1>?", "--point", "200,280", "--segmenter", "missing"),
    ("chat", SCENE, "--model", "missing"),
    ("serve", "--detector", "missing"),
    ("serve", "--model", "missing"),
    ("mcp", "--model", "missing"),
    ("mcp", "--segmenter", "missing"),
    ("evaluate", "toy", "--detector", "missing", "--questions", "1", "--scenes", "1"),
    ("evaluate", "agent", "--segmenter", "missing", "--questions", "1"),
    ("doctor", "--region-model", "missing"),
    ("doctor", "--detector", "missing"),
]


@pytest.mark.parametrize("arguments", MODELS, ids=lambda each: " ".join(each).replace(SCENE, "IMAGE"))
def test_a_model_that_is_not_there_is_2_before_anything_runs(run: Runner, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.startswith("model_not_found: ") and done.err.count("\n") == 1


def test_a_replay_with_a_model_that_is_not_there_is_2(run: Runner) -> None:
    assert run("run", SCENE, "Is there an umbrella?", "--out", "run1").code == 0
    for option in ("--model", "--detector", "--segmenter"):
        done = run("replay", "run1", option, "missing")
        assert done.code == 2 and done.err.startswith("model_not_found: ")


@pytest.mark.parametrize("role", ["region_model", "detector", "segmenter"])
@pytest.mark.parametrize("name", ["missing", "./missing", "no/such/folder", "gpt4roi-7b", "", "tests"])
def test_an_agent_is_not_built_with_a_model_that_is_not_there(role: str, name: str) -> None:
    given: dict[str, Any] = {role: name}
    with pytest.raises(ModelNotFound):
        build_agent(**given)


@pytest.mark.parametrize("folder", ["missing", "file.txt"])
def test_the_doctor_refuses_a_folder_that_is_not_there(run: Runner, folder: str) -> None:
    Path("file.txt").write_text("no folder")
    done = run("doctor", "--folder", folder)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("model_not_found: ") and folder in done.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ask", SCENE, "What is <region2>?", "--box", "1,2,30,40"), "unknown_region"),
        (("ask", "missing.png", "What?"), "image_unreadable"),
        (("ask", SCENE, "What?", "--model", "missing"), "model_not_found"),
        (("run", SCENE, "What?", "--model", "missing"), "model_not_found"),
        (("detect", SCENE, " . "), "invalid_setting"),
        (("segment", SCENE, "--point", "1"), "point_invalid"),
        (("doctor", "--folder", "missing"), "model_not_found"),
        (("evaluate", "pope", "--data", "missing"), "data_not_found"),
        (("replay", "missing"), "trace_unreadable"),
        (("ask", SCENE, "What?", "--max-new-tokens", "many"), "invalid_setting"),
        (("ask", SCENE, "What?", "--no-such-option"), "invalid_setting"),
        (("ask",), "invalid_setting"),
    ],
)
def test_with_json_an_error_is_json_on_standard_output(run: Runner, arguments: tuple[str, ...], code: str) -> None:
    done = run(*arguments, "--json")
    assert done.code == 2, done.err
    error = json.loads(done.out)["error"]
    assert error["code"] == code and error["problem"] and set(error) == {"code", "problem", "do", "message"}
    assert "Traceback" not in done.err
