"""Quick trainings on records of toy scenes, and what they leave behind."""

import csv
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel, PreTrainedConfig, PreTrainedModel

from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.train import bases
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start
from tests.small import PATCHES, make_model, make_processor, small_config
from tests.training_sets import write_set

DEEP = {**PATCHES, "num_hidden_layers": 11}  # a tower with all of the published layers
ALL = ("region_encoder", "projector", "language_model")
QUICK = RecordSettings(
    model="nano",
    trained=ALL,
    data={"toy-train": 1.0},
    batch=4,
    micro_batch=4,
    epochs=2,
    learning_rate=1e-3,
    weight_decay=0.01,
    precision="float32",
    log_every=1,
    save_every=2,
    workers=0,
)


def make_root(folder: Path) -> Path:
    """Record sets, and `tiny/`: a random GPT4RoI that is faster than nano by far."""
    write_set(folder, "toy-train", scenes=8)
    write_set(folder, "toy-val", scenes=3, first=50, each=1)
    model = make_model()
    model.save_pretrained(folder / "tiny")
    make_processor(model.config).save_pretrained(folder / "tiny")
    return folder


def job(root: Path, folder: Path, start: str = "", **changes: Any) -> RecordJob:
    return RecordJob(replace(QUICK, **changes), Start(start or str(root / "tiny")), root, folder)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def back_to_step_2(folder: Path, other: Path) -> Path:
    """A copy of a finished run as it stood after its first checkpoint."""
    shutil.copytree(folder, other)
    shutil.rmtree(other / "checkpoints" / "step-00000004")
    shutil.rmtree(other / "model")
    return other


def write_bases(
    folder: Path, text: PreTrainedConfig, monkeypatch: pytest.MonkeyPatch, tower: PreTrainedModel | None = None
) -> Start:
    """A language model and a vision tower to start from; what is made between them has 20 thousand weights, not 300 million."""
    sizes: dict[str, Any] = {"region_channels": 16, "region_dim": 12, "num_fusions": 2, "fusion_groups": 4}
    sizes |= {"roi_size": 3, "position_dim": 8}
    monkeypatch.setattr(bases, "GPT4RoIConfig", partial(GPT4RoIConfig, **sizes))
    torch.manual_seed(0)
    make_processor(small_config()).tokenizer.save_pretrained(folder / "language")
    AutoModelForCausalLM.from_config(text).save_pretrained(folder / "language")
    (tower or CLIPVisionModel(CLIPVisionConfig(**DEEP))).save_pretrained(folder / "vision")
    return Start(language_model=str(folder / "language"), vision=str(folder / "vision"))
