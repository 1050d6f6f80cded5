"""What a training would take, and whether the shipped configurations fit the machines that they name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.train.config_files import CONFIGS, read_values
from roi_agent.model.train.mixture import open_parts
from roi_agent.model.train.plan import count_data, estimate
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.speed import peak_flops, peak_of, utilisation
from roi_agent.model.train.starting import Start
from tests.commands import Runner
from tests.training_sets import write_set

RECORDS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if "phases" not in read_values(path.stem))


def test_every_stage_has_a_configuration() -> None:
    sizes = {"stage1-7b", "stage2-7b", "vcr-7b", "stage1-13b", "stage2-13b", "lora-7b"}
    assert sizes | {"nano-stage1", "nano-stage2", "nano-vcr", "nano-boxes", "nano-generated"} == set(RECORDS)


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_the_stages_are_those_of_the_paper(size: str) -> None:
    first, second = RecordSettings.load(f"stage1-{size}"), RecordSettings.load(f"stage2-{size}")
    assert first.trained == ("region_encoder",) and first.weight_decay == 0.01 and first.warmup == 0.003
    assert set(second.trained) == {"region_encoder", "projector", "language_model"} and second.weight_decay == 0
    assert second.warmup_steps == 3000 and (first.batch, second.batch) == (8, 16)
    for each in (first, second):
        assert (each.epochs, each.learning_rate, each.length, each.precision) == (2, 2e-5, 2048, "bf16")
    assert list(first.data) == ["coco-train", "refcoco-train", "refcoco+-train"]


@pytest.mark.parametrize(
    ("name", "processes", "gigabytes"), [("stage1-7b", 8, 24), ("stage2-7b", 8, 80), ("stage2-13b", 8, 80), ("lora-7b", 1, 24)]
)
def test_the_large_configurations_fit_the_gpus_that_they_name(name: str, processes: int, gigabytes: int) -> None:
    settings = RecordSettings.load(name)
    plan = estimate(settings, GPT4RoIConfig.preset(settings.model), processes=processes)
    assert plan.memory.total < gigabytes * 1e9
    assert 7e9 < plan.parameters < 14e9


def test_numbers_of_weights_and_bytes_are_those_of_the_model() -> None:
    config, _ = Start("nano").description()
    model, _ = Start("nano").load()
    settings = replace(RecordSettings.load("nano-boxes"), trained=("region_encoder",))
    plan = estimate(settings, config, processes=1)
    trained = sum(each.numel() for each in model.region_encoder.parameters())
    assert plan.trained == trained and plan.parameters == model.num_parameters()
    assert plan.memory.gradients == 4 * trained and plan.memory.optimiser == 8 * trained
    assert plan.checkpoint == 12 * trained and plan.exported == 4 * plan.parameters


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40G", None),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", None),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA B200", 2250),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA RTX A6000", 155),
        ("NVIDIA RTX 6000 Ada Generation", None),
    ],
)
def test_a_peak_is_that_of_the_very_gpu_or_unknown(name: str, teraflops: int | None) -> None:
    assert peak_of(name) == (None if teraflops is None else teraflops * 1e12)


def test_sharing_a_model_takes_less_memory_of_each() -> None:
    settings = RecordSettings.load("stage2-7b")
    config = GPT4RoIConfig.preset("gpt4roi-7b")
    totals = [estimate(settings, config, processes=number).memory.total for number in (1, 2, 8)]
    assert totals[0] > totals[1] > totals[2] and totals[0] > 80e9


def test_steps_and_tokens_are_counted(tmp_path: Path) -> None:
    write_set(tmp_path, "boxes-train", scenes=6)
    settings = RecordSettings.load("nano-boxes")
    _, processor = Start("nano").description()
    data = count_data(settings, open_parts(tmp_path, settings.data, conversations=8), processor)
    assert (data.samples, data.steps) == (152, 38), "6 samples, 25 epochs, and 2 more to fill the last batch of 4"
    assert 152 * 25 < data.tokens < 152 * 300 and 0 < data.answer_tokens < data.tokens / 2


def test_the_command_plans_without_starting(tmp_path: Path, run: Runner) -> None:
    write_set(tmp_path, "boxes-train", scenes=2)
    shown = run("train", "lora-7b", "--plan")
    assert shown.code == 0 and "7.4" in shown.out and "disk" in shown.out
    counted = run(
        "train", "nano-boxes", "--data", str(tmp_path), "--from", "nano", "--plan", "--json", "--out", str(tmp_path / "r")
    )
    plan = json.loads(counted.out)
    assert plan["data"]["steps"] == 13 and plan["memory"]["total"] > 0 and not (tmp_path / "r").exists()
    assert run("train", "stage2-7b", "--plan", "--processes", "3").code == 2


def test_utilisation_counts_six_operations_for_each_weight_and_token() -> None:
    assert utilisation(10_000, 7_000_000_000, 989e12) == pytest.approx(0.4247, abs=1e-3)
    assert peak_flops(torch.device("cpu")) is None
