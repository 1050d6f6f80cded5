"""What a first visit meets: the version, completion, colours and waiting on terminals only, quiet pipes, and Ctrl-C."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import roi_agent
from roi_agent.model.data.record_files import open_records
from roi_agent.model.domain.nano import NANO
from roi_agent.model.utils import progress
from roi_agent.tools.workspace import Workspace
from roi_agent.trace import Trace
from tests.commands import Runner
from tests.interrupting import COMMAND, ENVIRONMENT, ROOT, interrupted
from tests.published import Release
from tests.serving import serving
from tests.toy_records import kinds, write_set

SCENE = str(ROOT / "examples" / "scene1.png")

pytestmark = pytest.mark.usefixtures("heard")


def on_terminal(*arguments: str, **more: str) -> tuple[int, str]:
    """Exit code and what a terminal gets of a command."""
    ours, theirs = os.openpty()
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in ("NO_COLOR", "FORCE_COLOR")} | more
    process = subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT)
    os.close(theirs)
    got = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux ends a terminal that nobody writes to any more
            break
        if not piece:
            break
        got += piece
    os.close(ours)
    return process.wait(60), got.decode(errors="replace")


# ---------------------------------------------------------------- start


def test_the_version_is_reported(run: Runner) -> None:
    result = run("--version")
    assert (result.code, result.out, result.err) == (0, f"roi-agent {roi_agent.__version__}\n", "")


def test_help_and_version_load_nothing_heavy() -> None:
    heavy = {"torch", "torchvision", "transformers", "langchain_core", "datasets", "numpy", "PIL", "scipy", "fastapi"}
    program = f"""
import sys
from roi_agent.cli import main
for words in ("--version", "--help", "ask --help", "train --help", "data convert --help"):
    sys.argv = ["roi-agent", *words.split()]
    try:
        main()
    except SystemExit as stopped:
        assert not stopped.code
    allowed = {{"numpy", "PIL"}} if "convert" in words else set()  # it lists the readers, which look at images
    assert not {heavy!r} & set(sys.modules) - allowed, words
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("re",), ["replay"]),
        (("data", "con"), ["convert"]),
        (("ask", "a.png", "What?", "--unit", "n"), ["normalised"]),
        (("ask", "a.png", "What?", "--format", ""), ["xyxy", "xywh", "cxcywh"]),
        (("ask", "a.png", "What?", "--device", "c"), ["cpu", "cuda"]),
        (("train", "nano-d"), ["nano-detector"]),
        (("scenes", "out", "--layout", "refcoco"), ["refcoco", "refcoco+", "refcocog"]),
        (("data", "convert", "flick"), ["flickr30k"]),
        (("ask", "exam"), []),  # files are completed by the shell itself, where we offer nothing
        (("ask", "a.png", "What?", "--model", "gpt"), []),
    ],
)
def test_the_shell_completes_commands_options_and_known_words(
    run: Runner, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], offered: list[str]
) -> None:
    asked = {"_ROI_AGENT_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["roi-agent", *words]), "COMP_CWORD": str(len(words))}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert run().out.split() == offered  # what bash offers for the last word


def test_the_completion_script_is_for_the_installed_command(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "bash"))
    result = run("--show-completion")
    assert result.code == 0 and "_ROI_AGENT_COMPLETE=complete_bash" in result.out
    assert re.search(r"complete -o default -F \w+ roi-agent\s*$", result.out)  # default: files where we offer nothing


# ---------------------------------------------------------------- terminals and pipes


def test_colours_are_for_terminals_and_can_be_switched_off() -> None:
    colour = re.compile(r"\x1b\[[0-9;]*\b[39][0-7]\b")
    code, shown = on_terminal("doctor", "--help")
    assert code == 0 and colour.search(shown)
    code, plain = on_terminal("doctor", "--help", NO_COLOR="1")
    assert code == 0 and not colour.search(plain)
    piped = subprocess.run([*COMMAND, "doctor", "--help"], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)
    assert "\x1b" not in piped.stdout + piped.stderr


def test_a_terminal_shows_that_something_is_going_on(tmp_path: Path) -> None:
    code, shown = on_terminal("scenes", str(tmp_path / "new"), "--count", "3", "--side", "64")
    assert code == 0 and "rendering" in shown and "3/3" in shown


def test_pipes_get_neither_bars_nor_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for forced in ({}, {"FORCE_COLOR": "1"}):
        errors = io.StringIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", errors)
            for name, value in forced.items():
                patched.setenv(name, value)
            with progress.progress_bar() as bar, progress.waiting("loading"):
                assert list(bar.track(range(3))) == [0, 1, 2]
        assert errors.getvalue() == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminals_get_bars_and_waiting_unless_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for show in (True, False):
        errors = _Terminal()
        monkeypatch.setattr(sys, "stderr", errors)
        with progress.progress_bar(show) as bar:
            assert list(bar.track(range(3), description="rendering")) == [0, 1, 2]
        with progress.waiting("loading", show):
            time.sleep(0.05)
        assert ("rendering" in errors.getvalue() and "loading ..." in errors.getvalue()) == show


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes so long that a line says so, on however slow a machine."""
    monkeypatch.setattr(progress, "FIRST_S", 600.0)


SETTINGS = {
    "model": "nano", "trained": ["region_encoder"], "data": {"toy-train": 1}, "batch": 2, "micro_batch": 2, "epochs": 1,
    "learning_rate": 1e-3, "precision": "float32", "log_every": 1, "save_every": 1, "workers": 0,
}  # fmt: skip


def training(tmp_path: Path, *, scenes: int = 4, **changed: Any) -> list[str]:
    """A command that trains on records."""
    write_set(tmp_path / "sets" / "toy-train", kinds, scenes=scenes)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(SETTINGS | changed))
    return ["train", str(tmp_path / "own.yaml"), "--data", str(tmp_path / "sets"), "--from", "nano"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_training_writes_nothing_but_its_result_into_pipes(run: Runner, tmp_path: Path, form: list[str]) -> None:
    result = run(*training(tmp_path), "--out", str(tmp_path / "run"), *form)
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out)["model"] if form else result.out.count("\n") == 1


@pytest.mark.usefixtures("patient")
def test_converting_weights_writes_nothing_but_its_report_into_pipes(run: Runner, release: Release, tmp_path: Path) -> None:
    folder = release.write(tmp_path / "merged")
    release.copy_tokenizer(folder)
    result = run("convert", str(folder), str(tmp_path / "out"), "--vision", str(release.tower))
    assert (result.code, result.err) == (0, "")


# ---------------------------------------------------------------- pointing in a chat


def test_a_chat_takes_points_from_the_start_and_in_later_turns(run: Runner) -> None:
    lines = "What is <region1>?\n/point 410,240\nWhat colour is <region2>?\n/point 9999,1\n/point 5\n/regions\n"
    result = run("chat", SCENE, "--point", "200,280", stdin=lines)
    assert result.code == 0
    said = result.out.splitlines()
    assert said[2].startswith("region1: 12") and "a large orange umbrella" in said
    assert "region2: 314, 144, 504, 335" in said and "yellow" in said
    assert result.err.count("point_invalid: ") == 2 and "write --point 120,80" in result.err
    assert [line[:7] for line in said[-2:]] == ["region1", "region2"]


# ---------------------------------------------------------------- Ctrl-C


def test_ctrl_c_while_modules_load_is_no_traceback() -> None:
    process = subprocess.Popen([*COMMAND, "ask", SCENE, "What?"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 130)


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.sweep)])
def test_an_interrupted_conversion_continues(tmp_path: Path, run: Runner, processes: str) -> None:
    run("scenes", str(tmp_path / "coco"), "--layout", "coco", "--count", "30", "--side", "64")
    file = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    data = json.loads(file.read_text())
    images = [{**image, "id": 1000 * image["id"] + copy} for image in data["images"] for copy in range(100)]
    several = [{**each, "image_id": 1000 * each["image_id"] + copy} for each in data["annotations"] for copy in range(100)]
    numbered = [{**each, "id": number} for number, each in enumerate(several)]
    file.write_text(json.dumps({**data, "images": images, "annotations": numbered}))
    out = tmp_path / "records"
    command = ["data", "convert", "coco", str(tmp_path / "coco"), str(out), "--processes", processes]
    assert interrupted(command, lambda _: list(out.glob("records-*.jsonl")), tmp_path) == (130, "")
    assert not (out / "dataset.json").exists()
    assert run(*command).code == 0
    assert len(list(open_records(out))) == 3000


@pytest.mark.parametrize(
    ("processes", "workers", "all_hear"),
    [
        ("1", 1, True),
        pytest.param("2", 1, True, marks=pytest.mark.sweep),
        pytest.param("2", 0, False, marks=pytest.mark.sweep),
    ],
)
def test_an_interrupted_training_continues(tmp_path: Path, run: Runner, processes: str, workers: int, all_hear: bool) -> None:
    command = [*training(tmp_path, scenes=8, epochs=3, micro_batch=1, workers=workers), "--out", str(tmp_path / "run")]

    def saved(_: str = "") -> list[Path]:
        return list((tmp_path / "run" / "checkpoints").glob("step-0*[0-9]"))

    assert interrupted([*command, "--processes", processes], saved, tmp_path, all_hear=all_hear) == (130, "")
    assert saved() and not (tmp_path / "run" / "model").exists()
    assert run(*command).code == 0
    steps = [line.split(",")[1] for line in (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]]
    assert steps == [str(number) for number in range(1, 13)]


@pytest.mark.sweep
@pytest.mark.parametrize("all_hear", [True, False])
def test_an_interrupted_evaluation_continues(tmp_path: Path, run: Runner, all_hear: bool) -> None:
    data = write_set(tmp_path / "toy", kinds, scenes=40, first_seed=430_000)
    out = tmp_path / "run"
    command = ["evaluate", "pope", "--data", str(data), "--out", str(out)]

    def answered(_: str = "") -> int:
        return sum(path.stat().st_size for path in out.glob("outputs-*.jsonl"))

    assert interrupted([*command, "--processes", "2"], answered, tmp_path, all_hear=all_hear) == (130, "")
    assert answered() and not (out / "scores.json").exists()
    assert run(*command).code == 0 and (out / "scores.json").exists()


def test_ctrl_c_while_a_checkpoint_is_written_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Runner
) -> None:
    from torch.distributed.checkpoint import filesystem

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(filesystem.FileSystemWriter, "write_data", stopped)
    result = run(*training(tmp_path), "--out", str(tmp_path / "run"))
    assert (result.code, result.err) == (130, "")


def test_ctrl_c_while_weights_are_written_leaves_nothing(
    run: Runner, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roi_agent.model import GPT4RoIProcessor

    folder = release.write(tmp_path / "merged")
    release.copy_tokenizer(folder)
    before = sorted(tmp_path.iterdir())

    def stopped(*_: object, **__: object) -> None:
        assert len(list(tmp_path.iterdir())) == len(before) + 1  # written aside
        raise KeyboardInterrupt

    monkeypatch.setattr(GPT4RoIProcessor, "save_pretrained", stopped)
    result = run("convert", str(folder), str(tmp_path / "out"), "--vision", str(release.tower))
    assert (result.code, result.out, result.err) == (130, "", "")
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_ends_a_server() -> None:
    with serving() as running:
        assert running.stop(signal.SIGINT) == 130
    assert all(line.startswith((NANO, "roi-agent serves nano", "loading nano")) for line in running.lines), running.lines


@pytest.mark.sweep
def test_an_interrupted_run_leaves_no_half_a_trace_and_its_thread_continues(tmp_path: Path, run: Runner) -> None:
    threads = ["--folder", str(tmp_path / "threads"), "--thread", "a"]
    command = ["run", SCENE, "What colour is the largest thing right of the umbrella?", "--out", str(tmp_path / "out"), *threads]
    code, _ = interrupted(command, lambda errors: "find_regions" in errors, tmp_path)
    assert code == 130 and not (tmp_path / "out" / "trace.json").exists()
    result = run(*command)
    assert result.code == 0 and "yellow" in result.out
    assert Trace.load(tmp_path / "out").status == "answered"
    assert len(Workspace.load(tmp_path / "out" / "workspace").images) >= 1


def test_waiting_shows_in_a_notebook_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(file=io.StringIO(), force_jupyter=True)
    assert progress._is_interactive(shown)
