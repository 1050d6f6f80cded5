"""The doctor: exact numbers of the presets, honest verdicts, and no traceback whatever is broken."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig

from roi_agent import doctor
from roi_agent.doctor import Device, check_weights, examine, working_bytes
from roi_agent.loading import SHIPPED
from roi_agent.model.gpt4roi.configuration import PRESETS, GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model of a few thousand parameters."""
    widths: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 11, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**widths, image_size=32, patch_size=8)
    text = LlamaConfig(vocab_size=40000, hidden_size=2, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    config = GPT4RoIConfig(vision_config=vision, text_config=text, region_channels=64, region_dim=8, roi_size=2)
    out = tmp_path / "own"
    GPT4RoIForConditionalGeneration(config).save_pretrained(out)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (out / name).write_text("{}")
    return out


def shown(report: doctor.DoctorReport) -> str:
    page = StringIO()
    Console(width=200, file=page).print(report.render())
    return page.getvalue()


def test_the_report_names_versions_devices_presets_and_weights() -> None:
    report = examine()
    assert set(report.versions) == {"python", "roi-agent", "torch", "torchvision", "transformers"}
    assert report.devices[0].name == "cpu" and 0 < report.devices[0].free_bytes <= report.devices[0].total_bytes
    assert [fit.preset for fit in report.fits] == [preset for preset in PRESETS for _ in range(2)]
    weights = json.loads(json.dumps(report.to_dict()))["weights"]
    assert [(each["name"], each["complete"]) for each in weights] == [
        ("nano", True),
        ("nano-detector", True),
        ("nano-segmenter", True),
    ]
    text = shown(report)
    assert all(word in text for word in ("cpu", "gpt4roi-13b", "bfloat16 or float16", "nano"))


def test_torchvisions_operators_run_here() -> None:
    assert not [line for line in examine().problems if "torchvision" in line]


@pytest.mark.parametrize(("preset", "parameters"), [("gpt4roi-7b", 7_344_985_856), ("gpt4roi-13b", 13_624_546_048)])
def test_parameters_are_counted_exactly(preset: str, parameters: int) -> None:
    fits = [fit for fit in examine().fits if fit.preset == preset]
    assert [fit.num_parameters for fit in fits] == [parameters] * 2
    assert [fit.weight_bytes for fit in fits] == [4 * parameters, 2 * parameters]


def test_an_image_that_is_kept_takes_what_was_measured() -> None:
    """44.6 MB of fused maps and 157 MB of keys and values at 7B; everything else comes on top."""
    config = GPT4RoIConfig.preset("gpt4roi-7b")
    assert 2.5e9 > working_bytes(config, 2) > 44.6e6 + 157e6
    assert working_bytes(config, 4) > working_bytes(config, 2) > 100 * working_bytes(GPT4RoIConfig.preset("nano"), 2) / 2


@pytest.mark.parametrize(("gigabytes", "fitting"), [(1, 2), (18, 3), (33, 5), (80, 6), (0, 0)])
def test_what_fits_depends_on_what_is_free(monkeypatch: pytest.MonkeyPatch, gigabytes: int, fitting: int) -> None:
    monkeypatch.setattr(doctor, "memory", lambda: (gigabytes << 30, gigabytes << 30))
    monkeypatch.setattr(doctor, "_gpus", lambda: ([], []))
    assert sum(fit.fits["cpu"] for fit in examine().fits) == fitting


def test_a_gpu_is_listed_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (15 << 30, 24 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    report = examine()
    assert report.devices[1] == Device("cuda:0", "a card", 24 << 30, 15 << 30)
    assert not next(fit for fit in report.fits if fit.preset == "gpt4roi-7b").fits["cuda:0"]


def test_a_broken_driver_is_a_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("driver says no")

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    report = examine()
    assert any("GPU" in line for line in report.problems) and len(report.devices) == 1
    assert "problem" in shown(report)


def test_a_torchvision_of_another_torch_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("operator torchvision::roi_align does not exist")

    monkeypatch.setattr("torchvision.ops.roi_align", broken)
    assert any("torchvision" in line for line in examine().problems)


def test_whole_weights_are_whole(folder: Path) -> None:
    (found,) = (each for each in examine(folder=folder).weights if each.name == "own")
    assert found.complete and not found.problem


def harm_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_fusions": 6}))


def harm_type(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def harm_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def harm_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (harm_config, "missing region_encoder.fusions.5"),
        (harm_type, "llama"),
        (harm_json, "JSON"),
        (harm_weights, "damaged"),
        (no_weights, "no weights"),
        (no_tokenizer, "missing: tokenizer.json"),
        (shutil.rmtree, "config.json"),
    ],
)
def test_broken_weights_say_what_is_wrong(folder: Path, harm: Any, words: str) -> None:
    harm(folder)
    found = check_weights("own", folder)
    assert not found.complete and words in found.problem, found
    assert str(folder.parent) not in found.problem


@pytest.mark.parametrize("role", ["detect", "segment"])
def test_broken_detectors_and_segmenters_say_what_is_wrong(role: str, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED[role]["nano"], tmp_path / "own")
    assert check_weights("own", tmp_path / "own").complete
    weights = load_file(tmp_path / "own" / "model.safetensors")
    weights.pop(max(weights))
    save_file(weights, tmp_path / "own" / "model.safetensors", metadata={"format": "pt"})
    found = check_weights("own", tmp_path / "own")
    assert not found.complete and "1 missing keys" in found.problem
