"""Training on records, shared out: the same losses in smaller batches and in two processes, and how processes fail."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from roi_agent.model.checkpoints.loading import load_model
from roi_agent.model.errors import RoiAgentError, TrainingFailed
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.train.divergence import Diverged
from roi_agent.model.train.processes import launch
from roi_agent.model.train.settings import EvaluationSettings, LoraSettings
from roi_agent.model.train.training import train_on_records
from tests.record_runs import back_to_step_2, job, losses, make_root, weights


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


def test_accumulation_does_not_change_the_losses(root: Path, tmp_path: Path) -> None:
    found = []
    for micro_batch in (4, 2, 1):
        train_on_records(job(root, tmp_path / str(micro_batch), micro_batch=micro_batch), show_progress=False)
        found.append(losses(tmp_path / str(micro_batch)))
    assert len(found[0]) == 4 and found[0][-1] < found[0][0]
    assert found[1] == pytest.approx(found[0], abs=1e-4) and found[2] == pytest.approx(found[0], abs=1e-4)


@pytest.mark.sweep
def test_two_processes_with_fsdp_give_the_losses_of_one_and_either_goes_on_from_the_other(root: Path, tmp_path: Path) -> None:
    evaluate = EvaluationSettings("toy-val", every=2, records=2, max_new_tokens=4)
    one = job(root, tmp_path / "one", "nano", micro_batch=2, evaluate=evaluate)
    two = replace(one, folder=tmp_path / "two")
    train_on_records(one, show_progress=False)
    train_on_records(two, processes=2, show_progress=False)
    assert losses(two.folder) == pytest.approx(losses(one.folder), abs=1e-4)
    ours, theirs = weights(one.folder), weights(two.folder)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)
    for folder, processes in ((one.folder, 2), (two.folder, 1)):
        again = replace(one, folder=back_to_step_2(folder, tmp_path / f"{folder.name}-again"))
        train_on_records(again, processes=processes, show_progress=False)
        assert losses(again.folder) == pytest.approx(losses(one.folder), abs=1e-4)


@pytest.mark.sweep
def test_two_processes_train_adapters_in_bf16(root: Path, tmp_path: Path) -> None:
    run = job(
        root, tmp_path, precision="bf16", trained=("region_encoder",), micro_batch=2, lora=LoraSettings(rank=2, dropout=0.0)
    )
    train_on_records(run, processes=2, show_progress=False)
    train_on_records(replace(run, folder=tmp_path / "one"), show_progress=False)
    assert losses(tmp_path) == pytest.approx(losses(tmp_path / "one"), rel=0.02)
    ours, theirs = weights(tmp_path), weights(tmp_path / "one")
    assert all(torch.allclose(ours[name], theirs[name], atol=0.05) for name in ours)


def test_an_error_in_a_process_is_the_error_of_the_run(root: Path, tmp_path: Path) -> None:
    model = load_model(GPT4RoIForConditionalGeneration, root / "tiny")
    model.projector.weight.data[0, 0] = float("nan")
    shutil.copytree(root / "tiny", tmp_path / "broken")
    model.save_pretrained(tmp_path / "broken")
    wrong = job(root, tmp_path / "run", str(tmp_path / "broken"), micro_batch=2)
    with pytest.raises(RoiAgentError) as error:
        train_on_records(wrong, processes=2, show_progress=False)
    assert error.value.code == "training_diverged" and Diverged.load(wrong.folder).steps == (0,)


def end_suddenly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.sweep
def test_a_process_that_dies_ends_the_run_with_its_signal() -> None:
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = [signal.getsignal(each) for each in heard]
    with pytest.raises(TrainingFailed, match=r"training_failed: a training process ended: signal 9; .*last checkpoint"):
        launch(end_suddenly, processes=2)
    assert [signal.getsignal(each) for each in heard] == handlers  # the launcher leaves its own behind
