"""The command line: what it prints, how it fails, and that its help shows examples that run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest
from PIL import Image

from tests.commands import Runner

ROOT = Path(__file__).parents[2]
SCENE = str(ROOT / "examples" / "scene1.png")
UMBRELLA = "123,194,303,377"


def test_ask_prints_the_answer(run: Runner) -> None:
    result = run("ask", SCENE, "What is <region1>?", "--box", UMBRELLA)
    assert (result.code, result.out) == (0, "a large orange umbrella\n")


def test_ask_as_json_echoes_the_box_and_writes_a_picture(run: Runner, tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    parts = ["--box", "0.25,0.25,0.5,0.5", "--format", "cxcywh", "--unit", "normalised", "--json", "--picture", str(picture)]
    result = run("ask", SCENE, "What colour is <region1>?", *parts)
    answer = json.loads(result.out)
    assert answer["regions"][0]["box"] == [0, 0, 256, 256]
    assert {"text", "confidence", "usage", "timing", "notes", "question"} <= set(answer)
    with Image.open(picture) as drawn:
        assert drawn.size[0] == 512


@pytest.mark.parametrize("options", [("--choose", "cup,umbrella"), ("--choose", " cup , umbrella ", "--workspace", "held")])
def test_options_may_be_parted_by_commas(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("ask", SCENE, "What kind of thing is <region1>?", "--box", UMBRELLA, *options)
    assert (done.code, done.out.strip()) == (0, "umbrella"), done.err
    alone = run("ask", SCENE, "What is <region1>?", "--box", UMBRELLA, "--choose", "cup")
    assert alone.code == 2 and "write --choose cup --choose ball, or --choose cup,ball" in alone.err
    kept = run("ask", SCENE, "What is <region1>?", "--box", UMBRELLA, "--choose", "red, white", "--choose", "x", "--json")
    assert json.loads(kept.out)["options"] == ["red, white", "x"]


def test_choose_picks_one_of_the_options(run: Runner) -> None:
    options = ["--choose", "cup", "--choose", "umbrella"]
    result = run("ask", SCENE, "What kind of thing is <region1>?", "--box", UMBRELLA, *options)
    assert (result.code, result.out) == (0, "umbrella\n")


def test_chat_continues_after_a_mistake(run: Runner) -> None:
    lines = "What is <region2>?\n/box 315,145,504,334\n/box 1,2\n/dance\nWhat is <region2>?\n\n/regions\n/quit\nnever read\n"
    result = run("chat", SCENE, "--box", UMBRELLA, stdin=lines)
    assert result.code == 0
    assert "unknown_region" in result.err
    assert "box_format_unknown" in result.err
    assert "/dance" in result.err
    assert "a large yellow square" in result.out
    assert result.out.count("region1: 123, 194, 303, 377") == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.png", "What?"], "image_unreadable"),
        (["{folder}", "What?"], "image_unreadable"),
        (["{text}", "What?"], "image_unreadable"),
        (["{cut}", "What?"], "image_unreadable"),
        (["http://localhost/a.png", "What?"], "image_unreadable"),
        (["data:image/png;base64,xx", "What?"], "image_unreadable"),
        (["{bomb}", "What?"], "image_too_large"),
        (["{scene}", "What?", "--box", "1,2,3"], "box_format_unknown"),
        (["{scene}", "What?", "--box", "a,b,c,d"], "box_format_unknown"),
        (["{scene}", "What?", "--box", "1,2,3,4", "--format", "yxyx"], "box_format_unknown"),
        (["{scene}", "What?", "--box", "1,2,3,4", "--unit", "inch"], "box_format_unknown"),
        (["{scene}", "What?", "--box", "nan,2,3,4"], "box_not_finite"),
        (["{scene}", "What?", "--box", "1,2,inf,4"], "box_not_finite"),
        (["{scene}", "What?", "--box", "1,2,1e400,4"], "box_not_finite"),
        (["{scene}", "What?", "--box", "5,5,5,9"], "box_empty"),
        (["{scene}", "What?", "--box", "9,9,5,5"], "box_empty"),
        (["{scene}", "What?", "--box", "0,0,513,9"], "box_out_of_bounds"),
        (["{scene}", "What?", "--box=-1,0,5,9"], "box_out_of_bounds"),
        (["{scene}", "What?", "--box", "0,0,3e38,9"], "box_out_of_bounds"),
        (["{scene}", "What?", *["--box", "1,2,30,40"] * 201], "too_many_regions"),
        (["{scene}", "What is <region2>?", "--box", "1,2,30,40"], "unknown_region"),
        (["{scene}", "word " * 3000], "prompt_too_long"),
        (["{scene}", "What?", "--model", "missing"], "model_not_found"),
        (["{scene}", "What?", "--model", "gpt4roi-13b"], "model_not_found"),
        (["{scene}", "What?", "--picture", "no/such/folder/x.png"], "invalid_setting"),
        (["{scene}", "What?", "--picture", "x.docx"], "invalid_setting"),
        (["{scene}", "What?", "--temperature", "9"], "invalid_setting"),
        (["{scene}", "  "], "invalid_setting"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Runner, tmp_path: Path, arguments: list[str], code: str) -> None:
    whole = Path(SCENE).read_bytes()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    header = Image.new("RGB", (1, 1))
    header.save(tmp_path / "bomb.png")
    bomb = bytearray((tmp_path / "bomb.png").read_bytes())
    bomb[16:24] = (30000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(_with_header_checksum(bomb))
    names = {name: str(tmp_path / f"{name}.png") for name in ("text", "cut", "bomb")}
    filled = [argument.format(scene=SCENE, folder=tmp_path, **names) for argument in arguments]
    result = run("ask", *filled)
    assert result.code == 2, result.err
    assert result.out == ""
    assert result.err.startswith(f"{code}: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert "0x" not in result.err


def _with_header_checksum(png: bytearray) -> bytes:
    png[29:33] = crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


def test_scenes_are_written_with_their_truth(run: Runner, tmp_path: Path) -> None:
    result = run("scenes", str(tmp_path / "new"), "--count", "2", "--side", "64", "--json")
    for pair in json.loads(result.out)["scenes"]:
        with Image.open(pair["image"]) as image:
            assert image.size == (64, 64)
        assert json.loads(Path(pair["truth"]).read_text())["things"]


def test_unknown_training_configurations_name_the_known_ones(run: Runner) -> None:
    result = run("train", "missing")
    assert result.code == 2
    assert "nano" in result.err


def test_a_missing_extra_says_how_to_install_it(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = run("train", "nano")
    assert result.code == 2
    assert result.err.startswith("missing_extra: ")
    assert "roi-agent[train]" in result.err


COMMANDS = ["ask", "chat", "run", "replay", "detect", "segment", "serve", "mcp", "scenes", "train", "convert", "doctor"]
COMMANDS += [f"data {command}" for command in ("convert", "formats", "generate", "inspect", "stats")]
COMMANDS += [f"evaluate {bench}" for bench in ("agent", "toy", "captions", "boxes", "vcr", "visual7w", "pope")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_whose_options_exist(run: Runner, command: str) -> None:
    result = run(*command.split(), "--help")
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.out).split())
    found = re.search(r"Examples?: (roi-agent .*)$", text)
    assert result.code == 0
    assert found, text
    for example in re.split(r" (?=roi-agent )", found[1]):
        words = shlex.split(example)
        assert words[1 : 1 + len(command.split())] == command.split()
        for option in [word for word in words if word.startswith("--")]:
            assert text.count(option) > found[1].count(option), f"{option} is in the example and not among the options"


def test_the_installed_command_answers_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "roi_agent.cli", "ask", SCENE, "What colour is <region1>?", "--box", UMBRELLA]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    told = [line for line in done.stderr.splitlines() if not re.fullmatch(r"(loading nano|answering) \.\.\. \d+ s", line)]
    assert (done.returncode, done.stdout, told) == (0, "orange\n", [])
