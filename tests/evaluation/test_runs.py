"""Runs of benches: killed and gone on, in shards, by a server, from outputs alone, and what is refused."""

import json
import multiprocessing
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roi_agent.evaluation.outputs import REPORT, RUN, SCORES, RunFolder, Shard
from roi_agent.evaluation.report import Report
from roi_agent.evaluation.running import EvaluationSettings, evaluate, report
from roi_agent.loading import SHIPPED, load_region_model
from roi_agent.model.errors import CheckpointMismatch, DataNotFound, InvalidSetting, RecordInvalid, RunConflict, RunIncomplete
from roi_agent.model.protocol.region_model import RegionModel
from tests import forking, toy_records
from tests.commands import Runner
from tests.serving import Serving

ROOT = Path(__file__).parents[2]
SCENES = 12


@pytest.fixture(scope="module")
def nano() -> RegionModel:
    return load_region_model("nano")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_records.write_set(tmp_path_factory.mktemp("data") / "toy", toy_records.closed, scenes=SCENES, first_seed=420_000)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory, nano: RegionModel) -> tuple[EvaluationSettings, Report]:
    """One unbroken run."""
    settings = EvaluationSettings("visual7w", data, tmp_path_factory.mktemp("whole") / "run")
    found = evaluate(settings, SHIPPED["ask"]["nano"], show_progress=False)
    assert found is not None
    return settings, found


def lines(folder: Path) -> list[str]:
    """What was answered, without the scores."""
    return sorted(json.dumps({key: value for key, value in each.items() if key != "scores"}) for each in answers(folder))


def scores(folder: Path) -> list[float]:
    """Of all options of all questions, in the order of the questions."""
    in_order = sorted(answers(folder), key=lambda each: (each["digest"], each["record"], each["turn"], each["boxes"]))
    return [score for each in in_order for score in each.get("scores", ())]


def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.glob("outputs-*.jsonl") for line in path.read_text().splitlines()]


def same_answers(one: Path, other: Path) -> bool:
    """Processes with other numbers of threads add in another order."""
    return lines(one) == lines(other) and scores(one) == pytest.approx(scores(other), abs=1e-3)


def test_a_run_writes_its_figures_and_a_report(whole: tuple[EvaluationSettings, Report]) -> None:
    settings, found = whole
    assert json.loads((settings.out / SCORES).read_text()) == json.loads(json.dumps(found.to_dict()))
    text = (settings.out / REPORT).read_text()
    for wanted in ("# visual7w: nano on toy", "| telling |", "95 % interval", "shuffled", "## Failures\n\nNone.", "## Versions",
                   "model sha256", "Apache-2.0"):  # fmt: skip
        assert wanted in text
    figures = {each.name: each for each in found.figures}
    assert set(figures) == {"telling", "pointing", "all"} and figures["pointing"].paper is None
    everything = figures["all"]
    assert everything.value > 0.9 and everything.shuffled is not None and everything.shuffled < 0.7
    assert everything.low <= everything.value <= everything.high


def killed_in_the_middle(command: list[str], folder: Path) -> None:
    """Start a process and kill it when it has written some answers, and not all."""
    process = forking.command(*command, environment={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + 120
    try:
        while not any(path.stat().st_size for path in folder.glob("outputs-*.jsonl")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait(30)


def test_a_killed_run_continues_and_gives_the_same(
    whole: tuple[EvaluationSettings, Report], tmp_path: Path, nano: RegionModel
) -> None:
    settings = replace(whole[0], out=tmp_path / "run")
    model = str(SHIPPED["ask"]["nano"])
    command = ["evaluate", "visual7w", "--data", str(settings.data), "--model", model]
    killed_in_the_middle([*command, "--out", str(settings.out), "--json"], settings.out)
    (file,) = settings.out.glob("outputs-*.jsonl")
    kept = file.read_bytes()
    assert 0 < kept.count(b"\n") < len(lines(whole[0].out))
    with pytest.raises(RunIncomplete, match="answers are missing"):
        report(settings)
    with file.open("ab") as torn:  # as a write that was cut leaves it
        torn.write(b'{"record": "toy/4200')
    with pytest.raises(RunIncomplete):
        report(settings)
    found = evaluate(settings, SHIPPED["ask"]["nano"], show_progress=False)
    assert found == whole[1]
    assert file.read_bytes().startswith(kept) and same_answers(settings.out, whole[0].out)


def test_half_an_image_is_asked_again_as_a_whole(whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    settings = replace(whole[0], out=tmp_path / "run")
    shutil.copytree(whole[0].out, settings.out)
    (file,) = settings.out.glob("outputs-*.jsonl")
    before = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(before[:-1]))
    assert evaluate(settings, SHIPPED["ask"]["nano"], show_progress=False) == whole[1]
    assert set(file.read_bytes().splitlines(keepends=True)) == set(before)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_in_any_order_give_the_whole(
    whole: tuple[EvaluationSettings, Report], tmp_path: Path, order: tuple[int, ...]
) -> None:
    settings = replace(whole[0], out=tmp_path / "run")
    found = [evaluate(settings, SHIPPED["ask"]["nano"], shard=Shard(each, 3), show_progress=False) for each in order]
    assert found == [None, None, whole[1]]
    assert same_answers(settings.out, whole[0].out) and len(list(settings.out.glob("outputs-*"))) == 3


def test_processes_give_the_whole(whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    settings = replace(whole[0], out=tmp_path / "run")
    assert evaluate(settings, SHIPPED["ask"]["nano"], processes=2, show_progress=False) == whole[1]
    assert same_answers(settings.out, whole[0].out)


def test_an_error_in_a_process_is_the_error_of_the_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "roi_agent.evaluation.running.get_context", lambda _: forking.CONTEXT
    )  # spawned ones take seconds to start
    before, broken = set(multiprocessing.active_children()), tmp_path / "nano"
    shutil.copytree(SHIPPED["ask"]["nano"], broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointMismatch):
        evaluate(EvaluationSettings("visual7w", data, tmp_path / "run"), broken, processes=2, show_progress=False)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.sweep
def test_processes_end_with_the_one_that_was_killed(whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    data = toy_records.write_set(tmp_path / "toy", toy_records.kinds, scenes=60, first_seed=430_000)
    settings = EvaluationSettings("pope", data, tmp_path / "run")
    command = ["evaluate", "pope", "--data", str(data), "--processes", "2"]
    killed_in_the_middle([*command, "--out", str(settings.out), "--json"], settings.out)
    end = time.monotonic() + 60
    while True:  # until nobody holds the files any more
        try:
            for shard in (Shard(0, 2), Shard(1, 2)):
                with RunFolder(settings.out).writing(shard):
                    pass
            break
        except RunConflict:
            assert time.monotonic() < end
            time.sleep(0.1)
    with pytest.raises(RunIncomplete):
        report(settings)


def test_a_served_model_gives_the_same_figures(whole: tuple[EvaluationSettings, Report], tmp_path: Path, served: Serving) -> None:
    found = evaluate(replace(whole[0], out=tmp_path / "run"), served.address, show_progress=False)
    assert found is not None and found.figures == whole[1].figures and found.run["model"] == {"name": "nano"}


def test_figures_are_computed_again_without_model_and_images(
    whole: tuple[EvaluationSettings, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(whole[0].data, data)
    shutil.copytree(whole[0].out, out)
    shutil.rmtree(data / "images")
    (out / REPORT).unlink()
    (out / SCORES).unlink()
    monkeypatch.setattr("roi_agent.evaluation.running.load_region_model", None)
    assert report(replace(whole[0], data=data, out=out)) == whole[1]
    assert (out / REPORT).read_text() == (whole[0].out / REPORT).read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "options"),
        ({"limit": 3}, "options"),
        ({"shuffled": False}, "options"),
        ({"bench": "boxes"}, "bench visual7w"),
    ],
    ids=str,
)
def test_answers_to_other_options_are_not_mixed(
    whole: tuple[EvaluationSettings, Report], change: dict[str, object], message: str, nano: RegionModel
) -> None:
    settings = replace(whole[0], **change)  # type: ignore[arg-type]
    before = lines(settings.out)
    for again in (lambda: evaluate(settings, SHIPPED["ask"]["nano"], show_progress=False), lambda: report(settings)):
        with pytest.raises(RunConflict, match=message):
            again()
    assert lines(settings.out) == before


def test_answers_of_another_model_are_not_mixed(whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    other = tmp_path / "nano"
    shutil.copytree(SHIPPED["ask"]["nano"], other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"domain": "another"}))
    with pytest.raises(RunConflict, match="contains answers with model name nano"):
        evaluate(whole[0], other, show_progress=False)


def test_answers_about_other_data_are_not_mixed(whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    data = tmp_path / "toy"
    shutil.copytree(whole[0].data, data)
    records = data / "records-00000.jsonl"
    records.write_text(records.read_text().replace("What colour", "Which colour", 1))
    with pytest.raises(RunConflict, match="contains answers with data name toy"):
        report(replace(whole[0], data=data))


def test_an_image_that_is_gone_is_counted_and_asked_about_once_it_is_back(
    whole: tuple[EvaluationSettings, Report], tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(whole[0].data, data)
    gone = sorted((data / "images").iterdir())[0]
    gone.rename(tmp_path / gone.name)
    settings = replace(whole[0], data=data, out=out)
    found = evaluate(settings, SHIPPED["ask"]["nano"], show_progress=False)
    assert found is not None and found.troubles["image_unreadable"] >= 2
    assert any("image_unreadable" in note for note in found.notes())
    assert {each.name: each.questions for each in found.figures} == {each.name: each.questions for each in whole[1].figures}
    (tmp_path / gone.name).rename(gone)
    assert evaluate(settings, SHIPPED["ask"]["nano"], show_progress=False) == whole[1]


def test_one_question_that_is_refused_does_not_take_the_others_with_it(tmp_path: Path, nano: RegionModel, data: Path) -> None:
    records = [json.loads(line) for line in (data / "records-00000.jsonl").read_text().splitlines()[:4]]
    records[1]["turns"][0]["options"].append("word " * 2000)
    file = data / "long.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in records))
    settings = EvaluationSettings("visual7w", file, tmp_path / "run", images=data / "images", shuffled=False)
    found = evaluate(settings, nano, show_progress=False)
    assert found is not None and found.troubles == {"prompt_too_long": 1} and found.counts["questions"] == 4
    assert sum(each.value * each.questions for each in found.figures if each.name != "all") == 3


def test_two_processes_cannot_write_the_same_answers(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.writing(Shard()), pytest.raises(RunConflict, match="another process"), folder.writing(Shard()):
        pass


def test_a_damaged_answer_is_named(whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    settings = replace(whole[0], out=tmp_path / "run")
    shutil.copytree(whole[0].out, settings.out)
    (file,) = settings.out.glob("outputs-*.jsonl")
    text = file.read_text().splitlines()
    file.write_text("\n".join([text[0], '{"record": 3}', *text[2:]]) + "\n")
    with pytest.raises(RunConflict, match="line 2"):
        report(settings)


@pytest.mark.parametrize("content", ["", "[]", "{", "7"])
def test_a_damaged_run_is_refused(whole: tuple[EvaluationSettings, Report], tmp_path: Path, content: str) -> None:
    (tmp_path / RUN).write_text(content)
    with pytest.raises(RunConflict, match=r"run\.json .* is damaged"):
        report(replace(whole[0], out=tmp_path))


def test_a_folder_of_other_files_is_left_alone(data: Path, tmp_path: Path, nano: RegionModel) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunConflict, match="files already"):
        evaluate(EvaluationSettings("visual7w", data, tmp_path), nano, show_progress=False)
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


def test_a_line_that_is_no_record_is_named_before_anything_is_asked(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    first = (data / "records-00000.jsonl").read_text().splitlines()[0]
    file.write_text(first + '\n{"id": 3}\n')
    with pytest.raises(RecordInvalid, match=r"mine\.jsonl, line 2"):
        evaluate(EvaluationSettings("visual7w", file, tmp_path / "run", images=data / "images"), "nano")
    assert not (tmp_path / "run").exists()


def test_a_limit_draws_images(data: Path, tmp_path: Path, nano: RegionModel) -> None:
    found = evaluate(EvaluationSettings("visual7w", data, tmp_path / "run", limit=2), nano, show_progress=False)
    assert found is not None and found.counts["images"] == 2


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_shards_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="shard"):
        Shard.parse(text)


def test_settings_that_are_none_are_refused(data: Path, tmp_path: Path, nano: RegionModel) -> None:
    with pytest.raises(InvalidSetting, match="no benchmark 'okvqa'"):
        EvaluationSettings("okvqa", data, tmp_path)
    with pytest.raises(InvalidSetting, match="limit"):
        EvaluationSettings("boxes", data, tmp_path, limit=0)
    settings = EvaluationSettings("visual7w", data, tmp_path / "run")
    for options in ({"processes": 0}, {"processes": 2}):
        with pytest.raises(InvalidSetting, match="processes"):
            evaluate(settings, nano, **options)  # type: ignore[arg-type]
    with pytest.raises(DataNotFound):
        evaluate(replace(settings, data=tmp_path / "nowhere"), nano)
    with pytest.raises(RunIncomplete, match="no evaluation"):
        report(settings)


def test_the_command_shows_a_table_and_prints_json(run: Runner, whole: tuple[EvaluationSettings, Report], tmp_path: Path) -> None:
    arguments = ["evaluate", "visual7w", "--data", str(whole[0].data), "--out", str(whole[0].out), "--from-outputs"]
    shown = run(*arguments)
    assert shown.code == 0 and "pointing" in shown.out and "report.md" in shown.out
    printed = run(*arguments, "--json")
    assert json.loads(printed.out) == {"schema_version": 1, **json.loads(json.dumps(whole[1].to_dict()))}
    refused = run(*arguments, "--seed", "3")
    assert refused.code == 2 and refused.err.startswith("run_conflict: ")
    model = str(SHIPPED["ask"]["nano"])
    part = run(*arguments[:4], "--model", model, "--out", str(tmp_path / "run"), "--limit", "2", "--shard", "1/2")
    assert part.code == 0 and "This shard is complete" in part.out
