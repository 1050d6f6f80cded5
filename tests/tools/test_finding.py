"""`roi-agent detect`, `segment` and `ask --workspace`: one set of handles over several commands."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from roi_agent import Workspace
from tests.commands import Runner

SCENE = str(Path(__file__).parents[2] / "examples" / "scene1.png")


@pytest.fixture
def run(run: Runner) -> Any:
    """The command's two outputs, where it ended as it should."""

    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        done = run(*arguments)
        assert done.code == code, done.err
        return done.out, done.err

    return call


def test_detect_segment_and_ask_share_a_workspace(run: Any, tmp_path: Path) -> None:
    folder, picture = str(tmp_path / "w"), tmp_path / "found.png"
    out, _ = run("detect", SCENE, "orange umbrella . yellow square . star .", "--workspace", folder, "--picture", str(picture))
    assert out.startswith("2 found in image1: ") and "no star (best score 0." in out
    with Image.open(picture) as drawn:
        assert drawn.size == (512, 512)
    labels = {region.label: region.name for region in Workspace.load(folder).regions()}
    assert set(labels) == {"orange umbrella", "yellow square"}
    out, _ = run("segment", "--workspace", folder, "--region", labels["yellow square"], "--json")
    (mask,) = json.loads(out)["regions"]
    assert (mask["name"], mask["parent"], mask["label"]) == ("region3", labels["yellow square"], "yellow square")
    assert mask["mask"]["size"] == [512, 512]
    out, _ = run("ask", "--workspace", folder, f"Is <{labels['orange umbrella']}> left of <{labels['yellow square']}>?")
    assert out == "yes\n"
    out, _ = run("ask", "--workspace", folder, "What is <region3>?", "--json")
    answer = json.loads(out)
    assert answer["text"].endswith("square") and answer["image"] == "image1"
    assert answer["regions"][0]["name"] == "region3" and answer["question"] == "What is <region3>?"
    out, _ = run("ask", "--workspace", folder, "What kind of thing is <region3>?", "--choose", "star", "--choose", "square")
    assert out == "square\n"


def test_looking_again_adds_nothing(run: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    for _ in range(2):
        run("detect", SCENE, "flag", "--workspace", folder)
    assert len(Workspace.load(folder).images) == 1
    before = Workspace.load(folder).regions()
    run("detect", "image1", "flag", "--workspace", folder)
    assert Workspace.load(folder).regions() == before and len(before) == 2


def test_boxes_in_a_workspace_say_their_handles(run: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    out, err = run("ask", SCENE, "What is <region1>?", "--box", "123,194,303,377", "--workspace", folder)
    assert out == "a large orange umbrella\n" and "region1 is the box 123,194,303,377" in err
    out, err = run("ask", "What is <region1>?", "--workspace", folder)
    assert out == "a large orange umbrella\n" and err == ""


def test_detect_without_a_workspace_leaves_nothing_behind(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out, _ = run("detect", SCENE, "flag", "--json")
    found = json.loads(out)
    assert [region["label"] for region in found["regions"]] == ["flag", "flag"]
    assert found["best_scores"]["flag"] > found["threshold"] and list(tmp_path.iterdir()) == []


def test_everything_in_an_image(run: Any, tmp_path: Path) -> None:
    out, _ = run("segment", SCENE, "--everything", "--json")
    assert len(json.loads(out)["regions"]) >= 3


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["detect", SCENE, ""], "invalid_setting: there is no phrase to look for"),
        (["detect", SCENE, " . . "], "invalid_setting: there is no phrase"),
        (["detect", SCENE, "flag", "--threshold", "2"], "invalid_setting: the threshold is 2"),
        (["detect", SCENE, "flag", "--model", "nowhere"], "model_not_found: 'nowhere' is neither a folder nor a name on the hub"),
        (["detect", "nowhere.png", "flag"], "image_unreadable"),
        (["detect", SCENE, "flag", "--picture", "x.txt"], "the picture 'x.txt' has an unsupported file extension"),
        (["segment", SCENE], "invalid_setting: there is no prompt"),
        (["segment"], "no image is given; give a file, or a --workspace"),
        (["segment", SCENE, "--point", "600,5"], "point_invalid: the point [600, 5] lies outside the image"),
        (["segment", SCENE, "--point", "6"], "point_invalid: the point '6' is not two numbers; write --point 120,80"),
        (["segment", SCENE, "--point", "nan,5"], "point_invalid"),
        (["segment", SCENE, "--box", "0,0,600,5"], "box_out_of_bounds"),
        (["segment", SCENE, "--everything", "--point", "5,5"], "--everything is combined with a prompt"),
        (["segment", SCENE, "--region", "region1"], "unknown_region: region1; there is no region yet"),
        (["ask", SCENE], "the question is missing"),
        (["doctor", "--device", "draw=cpu"], "the device 'draw=cpu' is unclear"),
        (["doctor", "--device", "ask=cuda:99"], "the device 'cuda:99' cannot be used here"),
        (["doctor", "--budget", "much"], "the size 'much' is unclear; write 12GB"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Any, arguments: list[str], said: str) -> None:
    out, err = run(*arguments, code=2)
    assert said in err and err.count("\n") == 1 and out == ""


def test_a_workspace_that_is_none_is_named(run: Any, tmp_path: Path) -> None:
    _, err = run("ask", "What is <region1>?", "--workspace", str(tmp_path / "new"), code=2)
    assert "unknown_region: region1; there is no region yet" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    _, err = run("detect", SCENE, "flag", "--workspace", str(tmp_path / "other"), code=2)
    assert "workspace_unreadable: 'other' contains other files and no workspace" in err


def test_a_failing_command_leaves_the_workspace_as_it_was(run: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    run("detect", SCENE, "flag", "--workspace", folder)
    before = (tmp_path / "w" / "workspace.json").read_bytes()
    run("segment", "--workspace", folder, "--point", "5,5", "--region", "region9", code=2)
    run("ask", "What is <region7>?", "--workspace", folder, "--box", "0,0,9,9", code=2)
    assert (tmp_path / "w" / "workspace.json").read_bytes() == before


def test_doctor_plans_where_the_models_go(run: Any) -> None:
    out, _ = run("doctor", "--budget", "20MiB", "--json")
    plan = json.loads(out)["plan"]
    assert [line["role"] for line in plan] == ["ask", "detect", "segment"]
    assert all(line["device"] == "cpu" and line["weight_bytes"] > 1e6 and line["state"] == "not loaded" for line in plan)
    out, _ = run("doctor", "--budget", "20MiB")
    assert "over the budget of 20 MiB: the least recently used model is moved out" in " ".join(out.split())
    out, _ = run("doctor", "--budget", "1GB")
    assert "within the budget of 954 MiB: all models stay" in " ".join(out.split())
