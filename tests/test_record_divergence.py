"""Trainings on records that diverge: the records are named, the run stops, and the checkpoint before is kept."""

import shutil
from pathlib import Path

import pytest
import torch

from roi_agent.model.errors import TrainingDiverged
from roi_agent.model.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.train import run_checkpoints
from roi_agent.model.train.divergence import LossGuard
from roi_agent.model.train.record_training import train_on_records
from roi_agent.model.weights import load_model
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
    assert run_checkpoints.saved(tmp_path)


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
def test_a_spike_is_told_from_the_running_median_once_warm(history: list[float], step: int, loss: float, stops: bool) -> None:
    guard = LossGuard(factor=5.0, warm=10, losses=history)
    if stops:
        with pytest.raises(TrainingDiverged, match="records a, b"):
            guard.check(step, loss, lambda: ["a", "b"])
    else:
        guard.check(step, loss, lambda: ["a", "b"])
        assert guard.losses[-1] == loss
    with pytest.raises(TrainingDiverged, match="norm is nan"):
        guard.check_gradient(step, float("nan"), lambda: ["a"])
