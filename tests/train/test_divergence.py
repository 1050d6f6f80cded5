"""Trainings on records that diverge: the records are named, the run stops, and the checkpoint before is kept."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from roi_agent.model.checkpoints.loading import load_model
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import Card, write_records
from roi_agent.model.errors import TrainingDiverged
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.train import run_checkpoints
from roi_agent.model.train.divergence import Diverged, LossGuard
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.training import train_on_records
from tests.record_runs import job, make_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


def test_a_loss_that_is_no_number_names_the_records_and_keeps_the_checkpoint(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(root / "tiny", folder)
    model = load_model(GPT4RoIForConditionalGeneration, folder)
    with torch.no_grad():
        model.projector.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(TrainingDiverged, match=r"the loss is nan at step 0, on the records toy/.*-0, .* and 4 more"):
        train_on_records(job(root, tmp_path / "run", str(folder)), show_progress=False)


def test_a_spike_stops_the_run_and_the_checkpoint_before_it_is_kept(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, epochs=10, learning_rate=30.0, clip=1e9, warmup=0.6, spike=1.5, save_every=1)
    with pytest.raises(TrainingDiverged, match=r"at step \d+.*on the records toy/"):
        train_on_records(run, show_progress=False)
    assert run_checkpoints.checkpoints(tmp_path)


def odd_one(root: Path, folder: Path) -> RecordJob:
    """A run that is to learn one answer from forty records, of which one has another answer, late in the order."""
    (sets := folder / "sets" / "odd" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(sets / "0.png")
    answers = ["red"] * 40
    answers[28] = "a ball ? a ball ? a ball ?"
    region = Region("region1", Box(4, 4, 40, 40))
    records = [
        Record(f"odd/{n}", "0.png", (64, 64), (region,), (RecordTurn("is <region1> ?", each),), "odd", "CC0-1.0")
        for n, each in enumerate(answers)
    ]
    write_records(folder / "sets" / "odd" / "records-00000.jsonl", records)
    Card("odd", "images", len(records), "odd", "CC0-1.0").save(folder / "sets" / "odd")
    run = job(root, folder / "run", data={"odd": 1.0}, conversations=1, batch=1, micro_batch=1, epochs=1, save_every=10)
    return replace(run, data=folder / "sets", settings=replace(run.settings, learning_rate=1e-2))


def test_a_run_that_continues_after_a_spike_leaves_that_batch_out_and_names_its_records(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = odd_one(root, tmp_path)
    with pytest.raises(TrainingDiverged, match=r"jumps from .* on the records odd/28; .*without this batch") as spike:
        train_on_records(run, show_progress=False)
    step = int(re.findall(r"at step (\d+)", str(spike.value))[0])
    assert 10 < step < 40
    train_on_records(run, show_progress=False)
    assert (run.folder / "left_out.txt").read_text() == f"odd/28: in the batch of step {step}, where the training diverged\n"
    assert f"the batch of step {step} is skipped because the training diverged there" in caplog.text
    with (run.folder / "log.csv").open() as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    assert sorted(rows) == list(range(1, 41))
    assert [number for number, row in rows.items() if not row["loss"]] == [step + 1]
    assert float(rows[step + 1]["left_out"]) == 1


def test_a_run_that_diverges_again_and_again_is_refused(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    for step in range(9):
        with pytest.raises(TrainingDiverged, match="without this batch"), Diverged.load(run.folder).recording(step):
            raise TrainingDiverged("the loss is nan", do="lower the learning rate")
    check_ready(run, 1)
    assert Diverged.load(run.folder).steps == tuple(range(9))
    with pytest.raises(TrainingDiverged, match="lower the learning rate") as last, Diverged.load(run.folder).recording(9):
        raise TrainingDiverged("the loss is nan", do="lower the learning rate")
    assert "without this batch" not in str(last.value)
    with pytest.raises(TrainingDiverged, match=r"diverged at 10 batches.*another folder"):
        check_ready(run, 1)


@pytest.mark.parametrize(
    ("history", "step", "loss", "stops"),
    [
        ([1.0] * 20, 50, 4.9, False),
        ([1.0] * 20, 50, 5.1, True),
        ([1.0] * 20, 5, 50.0, False),
        ([0.001] * 20, 50, 0.4, False),
        ([0.001] * 20, 50, 0.6, True),
        ([1.0] * 9, 50, 50.0, False),
        ([1.0] * 20, 5, float("nan"), True),
        ([], 0, float("inf"), True),
    ],
)
def test_a_spike_is_detected_against_the_running_median_after_warm_up(
    history: list[float], step: int, loss: float, stops: bool
) -> None:
    guard = LossGuard(factor=5.0, warmup_steps=10, losses=history)
    if stops:
        with pytest.raises(TrainingDiverged, match="records a, b"):
            guard.check(step, loss, lambda: ["a", "b"])
    else:
        guard.check(step, loss, lambda: ["a", "b"])
        assert guard.losses[-1] == loss
    with pytest.raises(TrainingDiverged, match="norm is nan"):
        guard.check_gradient(step, float("nan"), lambda: ["a"])
