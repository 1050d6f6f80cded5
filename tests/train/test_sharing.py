"""Training on records, shared out: the same losses in smaller batches and in two processes, and how processes fail."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

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
def test_two_processes_with_fsdp_give_the_losses_of_one_and_either_continues_from_the_other(root: Path, tmp_path: Path) -> None:
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


@pytest.mark.sweep
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


def torchrun(root: Path, folder: Path, *options: str) -> "subprocess.Popen[str]":
    config = ["train", str(root / "torchrun.yaml"), "--data", str(root), "--from", str(root / "tiny"), "--out", str(folder)]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "roi_agent", *config]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.sweep
def test_processes_of_torchrun_on_one_node_or_two_train_together(root: Path, tmp_path: Path) -> None:
    one = job(root, tmp_path / "alone", micro_batch=2)
    train_on_records(one, show_progress=False)
    values = {name: value for name, value in asdict(one.settings).items() if value is not None}
    (root / "torchrun.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(values))))
    store: Any = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        "localhost", 0, is_master=True, wait_for_workers=False
    )  # holds a rendezvous of two nodes
    joined = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{store.port}"]
    for name, options, count in (("node", ["--standalone", "--nproc-per-node", "2"], 1), ("nodes", joined, 2)):
        started = [torchrun(root, tmp_path / name, *options) for _ in range(count)]
        said = [each.communicate() for each in started]
        assert [each.returncode for each in started] == [0] * count, said
        assert sum(text.count("the model is in") for text, _ in said) == 1
        assert losses(tmp_path / name) == pytest.approx(losses(one.folder), abs=1e-4)
        ours, theirs = weights(one.folder), weights(tmp_path / name)
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in ours)
