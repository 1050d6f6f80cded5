"""Trainings on records that were cut, killed or found no room: which checkpoints are kept, and how they go on."""

import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, TrainingFailed
from roi_agent.model.train import run_checkpoints
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.starting import Start
from roi_agent.model.train.training import train_on_records
from tests import forking
from tests.interrupted_steps import stop_at
from tests.record_runs import ALL, back_to_step_2, job, losses, make_root, weights


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


def test_an_interrupted_run_continues_to_the_same_losses_and_the_same_bits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = job(root, tmp_path / "whole", "nano"), job(root, tmp_path / "cut", "nano")
    train_on_records(whole, show_progress=False)
    stop_at(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        train_on_records(cut, show_progress=False)
    assert len(losses(cut.folder)) == 3, "the third step was done, and not kept"
    train_on_records(cut, show_progress=False)
    assert losses(cut.folder) == losses(whole.folder)
    ours, theirs = weights(whole.folder), weights(cut.folder)
    assert set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.sweep
def test_a_killed_training_loses_at_most_what_came_after_the_last_checkpoint(root: Path, tmp_path: Path) -> None:
    settings = {"model": "nano", "trained": list(ALL), "data": {"toy-train": 1}, "batch": 2, "micro_batch": 2, "epochs": 4,
                "learning_rate": 1e-3, "precision": "float32", "log_every": 1, "save_every": 2, "workers": 0}  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    folder = tmp_path / "run"
    command = ["train", str(tmp_path / "own.yaml"), "--data", str(root), "--from", "nano"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = forking.command(*command, "--out", str(folder), environment=environment)
    deadline = time.monotonic() + 240
    while len(run_checkpoints.checkpoints(folder)) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done, kept = len(losses(folder)), int(run_checkpoints.checkpoints(folder)[-1].name.removeprefix("step-"))
    assert kept <= done <= kept + 2 and done < 16
    whole = tmp_path / "whole"
    for each in (whole, folder):
        assert forking.command(*command, "--out", str(each), environment=environment).wait() == 0
    assert losses(folder) == losses(whole)
    assert all(torch.equal(value, weights(folder)[name]) for name, value in weights(whole).items())


def test_only_the_two_newest_checkpoints_are_kept_and_halves_are_removed(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, save_every=1, workers=1)
    (tmp_path / "checkpoints" / "step-00000009.part").mkdir(parents=True)
    train_on_records(run, show_progress=False)
    assert sorted(each.name for each in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000004"]


def test_a_run_continues_only_as_what_it_began(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    train_on_records(run, show_progress=False)
    check_ready(replace(run, settings=replace(run.settings, micro_batch=1, log_every=7)), 1)
    with pytest.raises(InvalidSetting, match="other settings: learning_rate"):
        check_ready(replace(run, settings=replace(run.settings, learning_rate=0.5)), 1)
    with pytest.raises(InvalidSetting, match="other settings: from"):
        check_ready(replace(run, start=Start("nano")), 1)


def test_a_checkpoint_that_finds_no_room_ends_the_run_and_the_one_before_is_kept(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    train_on_records(run, show_progress=False)
    longer = RecordJob(
        replace(run.settings, epochs=2, save_every=1), run.start, root, back_to_step_2(tmp_path, tmp_path / "again")
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a full disk: a file of 20 kB and no more
    try:
        with pytest.raises(TrainingFailed, match="the checkpoint of step 3 cannot be written: File too large"):
            train_on_records(longer, show_progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in run_checkpoints.checkpoints(longer.folder)] == ["step-00000002"]
    train_on_records(longer, show_progress=False)
    assert losses(longer.folder) == losses(tmp_path)


def test_a_damaged_checkpoint_is_named(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    train_on_records(run, show_progress=False)
    for file in run_checkpoints.checkpoints(tmp_path)[-1].glob("*.distcp"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointMismatch, match="step-00000004 is damaged"):
        train_on_records(run, show_progress=False)
