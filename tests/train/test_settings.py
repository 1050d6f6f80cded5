"""Settings of a training on records: what is wrong with them or their data is told before the first step."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from roi_agent.model.checkpoints.loading import load_part
from roi_agent.model.errors import CheckpointMismatch, DataNotFound, InvalidSetting, ModelNotFound, RoiAgentError
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start
from tests.commands import Runner
from tests.record_runs import QUICK, job, make_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "large"}, "model is 'large'"),
        ({"trained": ["everything"]}, "everything"),
        ({"trained": []}, "nothing is trained"),
        ({"learning_rate": "2e-5"}, "learning_rate is '2e-5', not a number"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"warmup": 1}, "warmup is 1"),
        ({"precision": "fp8"}, "fp8"),
        ({"data": ["a"]}, "data is"),
        ({"data": {"a": 0}}, "weight of a is 0"),
        ({"data": {"a": True}}, "weight of a is True"),
        ({"single_turns": ["b"]}, "single_turns is .*'b'"),
        ({"single_turns": True}, "single_turns is True"),
        ({"spike": 1}, "spike is 1"),
        ({"letters": "yes"}, "letters is 'yes'"),
        ({"mask_pooling": "yes"}, "mask_pooling is 'yes'"),
        ({"workers": -1}, "workers is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"warmup_steps": -5}, "warmup_steps is -5"),
        ({"warmup_steps": 2.5}, "warmup_steps is 2.5, not a number"),
        ({"trained": "projector"}, "trained is 'projector'"),
        ({"trained": [3]}, "trained is"),
        ({"data": 3}, "data is 3"),
        ({"final_rate": 1.5}, "final_rate is 1.5"),
        ({"evaluate": {"data": 3}}, "data is 3"),
        ({"lora": {}}, "has adapters"),
        ({"lora": {"rank": 0}}, "rank is 0"),
        ({"lora": 8}, "lora is 8"),
        ({"evaluate": {"every": 5}}, "missing"),
        ({"speed": 1}, "unknown keys speed"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict[str, Any], problem: str) -> None:
    good = {"model": "nano", "trained": ["language_model"], "data": {"a": 1}, "batch": 4}
    assert RecordSettings.of(good).trained == ("language_model",)
    with pytest.raises(InvalidSetting, match=problem):
        RecordSettings.of(good | changes)


@pytest.mark.parametrize(("warmup_steps", "warm"), [(None, 10), (0, 1), (25, 25)])
def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine(warmup_steps: int | None, warm: int) -> None:
    schedule = replace(QUICK, learning_rate=2.0, warmup=0.1, warmup_steps=warmup_steps).schedule(100)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / warm) and max(rates) == rates[warm] == pytest.approx(2.0)
    assert rates[-1] < 0.01 and rates[50 + warm // 2] == pytest.approx(1.0, abs=0.05)


Change = Callable[[Path, RecordJob], RecordJob]


def _without_images(data: Path, run: RecordJob) -> RecordJob:
    shutil.rmtree(data / "toy-train" / "images")
    (data / "toy-train" / "images").mkdir()
    return run


def _other_processor(data: Path, run: RecordJob) -> RecordJob:
    processor = load_part(GPT4RoIProcessor, data / "tiny")
    processor.num_image_tokens = 4
    processor.save_pretrained(data / "tiny")
    return run


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        (lambda _, run: replace(run, settings=replace(run.settings, data={"vcr-train": 1.0})), DataNotFound, "data convert vcr"),
        (_without_images, DataNotFound, r"8 of 8 checked images of toy-train are missing, the first '0.png'"),
        (_other_processor, CheckpointMismatch, "has 4 image tokens, and the model 16"),
        (lambda _, run: replace(run, settings=replace(run.settings, micro_batch=3)), InvalidSetting, "is not divisible by"),
        (lambda _, run: replace(run, settings=replace(run.settings, length=4000)), InvalidSetting, "length is 4000"),
        (lambda _, run: replace(run, settings=replace(run.settings, length=10)), InvalidSetting, "length is 10"),
        (lambda _, run: replace(run, settings=replace(run.settings, trained=("projector.x",))), InvalidSetting, "projector.x"),
        (lambda _, run: replace(run, start=Start("missing")), ModelNotFound, "missing"),
    ],
)
def test_what_would_stop_it_is_found_before_the_first_step(
    root: Path, tmp_path: Path, change: Change, error: type[RoiAgentError], problem: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(root, data)
    with pytest.raises(error, match=problem):
        check_ready(change(data, job(data, tmp_path / "run")), 1)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_found_before_the_first_step(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 65 << 20})())
    with pytest.raises(InvalidSetting, match="free"):
        check_ready(job(root, tmp_path / "run", "nano"), 1)


def test_the_command_trains_on_records_and_refuses_options_of_the_other_kind(
    root: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"model": "nano", "trained": ["projector"], "data": {"toy-train": 1}, "batch": 8, "epochs": 1, "workers": 0}
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(settings | {"precision": "float32", "micro_batch": 8}))
    done = run("train", str(config), "--data", str(root), "--from", str(root / "tiny"), "--out", str(tmp_path / "run"), "--json")
    assert done.code == 0 and (tmp_path / "run" / "model" / "config.json").is_file()
    for arguments, problem in (
        (("nano", "--data", str(root)), "trains on the toy world"),
        ((str(config), "--phase", "words"), "has no phases"),
        ((str(config), "--from", "nano"), "no data is given"),
    ):
        refused = run("train", *arguments)
        assert refused.code == 2 and problem in refused.err
