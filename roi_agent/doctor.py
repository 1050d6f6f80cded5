"""A report on this machine: versions, devices and their memory, which presets fit in which type, complete or broken weights.

Nothing here raises: a broken driver or folder becomes a line of the report.
"""

import os
import platform
import warnings
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roi_agent.model.checkpoints.dtypes import memory
from roi_agent.model.checkpoints.merge import plan_sources
from roi_agent.model.checkpoints.names import read_json
from roi_agent.model.checkpoints.shards import WeightFolder
from roi_agent.model.detection.detector import GROUNDED, OPEN_WORLD, TransformersDetector
from roi_agent.model.errors import RoiAgentError
from roi_agent.model.gpt4roi.configuration import PRESETS, GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.segmentation.segmenter import PADDED, STRETCHED, TransformersSegmenter

_PACKAGES = ("roi-agent", "torch", "torchvision", "transformers")
_SHIPPED = {name: Path(__file__).parent / "model" / name for name in ("nano", "nano-detector", "nano-segmenter")}
_MODEL_FILES = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
_TYPES = {"float32": 4, "bfloat16 or float16": 2}
_TEMPLATE_TOKENS = 44  # the published prompt has about 300 tokens before a question, 256 of them for the image
_CHUNK = 64  # regions that the encoder pools at once
_GPU_RUNTIME_BYTES = 750 << 20  # kernels and library workspaces


@dataclass(frozen=True, slots=True)
class Device:
    """A device.  name: PyTorch's.  total_bytes, free_bytes: its memory, and how much of it is available now."""

    name: str
    description: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Fit:
    """The memory of a preset in a type, in bytes, and the devices on which it fits now.

    working_bytes: an estimate of the memory besides the weights: one cached image (fused maps, and keys and values of its
    tokens), one full context, and the largest intermediate maps.
    """

    preset: str
    dtype: str
    num_parameters: int
    weight_bytes: int
    working_bytes: int
    fits: dict[str, bool]


@dataclass(frozen=True, slots=True)
class Weights:
    """Whether a folder contains a complete model; `problem` says what is missing."""

    name: str
    complete: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """The whole report.  problems: what does not work on this machine, one line each; usually empty."""

    versions: dict[str, str]
    devices: tuple[Device, ...]
    fits: tuple[Fit, ...]
    weights: tuple[Weights, ...]
    problems: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def render(self) -> RenderableType:
        """Return the report as tables."""
        found = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        problems = [Text(f"problem: {line}", style="bold red") for line in self.problems]
        return Group(Text(found), *problems, _device_table(self.devices), _fit_table(self), _weight_table(self.weights))


def examine(folder: str | Path | None = None) -> DoctorReport:
    """Examine this machine, the shipped weights, and those in `folder` if given. Problems are reported, not raised."""
    devices, problems = [_cpu()], _torchvision_problems()
    gpus, gpu_problems = _gpus()
    devices += gpus
    named = dict(_SHIPPED) | ({Path(folder).name or str(folder): Path(folder)} if folder is not None else {})
    return DoctorReport(
        versions={"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        devices=tuple(devices),
        fits=tuple(_fit(preset, dtype, devices) for preset in PRESETS for dtype in _TYPES),
        weights=tuple(check_weights(name, path) for name, path in named.items()),
        problems=tuple(problems + gpu_problems),
    )


def check_weights(name: str, folder: Path) -> Weights:
    """Check that a folder contains every tensor of its configuration, with the right shape.

    For a GPT4RoI, only names and shapes are read, not weights; a detector or segmenter is loaded as for use.
    """
    try:
        model_type = read_json(folder / "config.json").get("model_type")
        if model_type in (*GROUNDED, *OPEN_WORLD):
            TransformersDetector.load(folder)
        elif model_type in (*PADDED, *STRETCHED):
            TransformersSegmenter.load(folder)
        elif model_type == GPT4RoIConfig.model_type:
            missing = [file for file in _MODEL_FILES if not (folder / file).is_file()]
            if missing:
                return Weights(name, False, f"missing: {', '.join(missing)}")
            plan_sources(
                _expected(GPT4RoIConfig.from_pretrained(folder, local_files_only=True)), WeightFolder(folder), None, None
            )
        else:
            kinds = f"{GPT4RoIConfig.model_type}, a detector or a segmenter"
            return Weights(name, False, f"config.json is for a model of type {model_type!r}, not {kinds}")
    except RoiAgentError as error:
        return Weights(name, False, error.problem)
    except Exception as error:  # a configuration can be broken in any way
        return Weights(name, False, f"config.json cannot be used ({type(error).__name__})")
    return Weights(name, True)


def working_bytes(config: GPT4RoIConfig, itemsize: int) -> int:
    """Return an estimate of the memory besides the weights, in bytes; see `Fit`.  itemsize: bytes of the model's type."""
    text, sides = config.text_config, list(config.pyramid_sizes)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads  # type: ignore[union-attr]
    head_dim = getattr(text, "head_dim", None) or config.hidden_size // text.num_attention_heads  # type: ignore[union-attr]
    token = 2 * text.num_hidden_layers * heads * head_dim * itemsize  # type: ignore[union-attr]
    context = int(text.max_position_embeddings)  # type: ignore[union-attr]
    maps = config.region_channels * sum(side**2 for side in sides) * itemsize
    cached = maps + (config.num_image_tokens + _TEMPLATE_TOKENS) * token
    # Fusion at the finest level, in float32: the level, its two resized neighbours, concatenated, convolved, normalised.
    fusion = 6 * config.region_channels * max(sides) ** 2 * 4
    pooled = 3 * _CHUNK * config.region_channels * config.roi_size**2 * 4
    return int(cached + context * token + fusion + pooled + context * config.vocab_size * 4)


@cache
def _num_parameters(preset: str) -> int:
    return sum(tensor.numel() for tensor in _meta_model(GPT4RoIConfig.preset(preset)).parameters())


def _meta_model(config: GPT4RoIConfig) -> GPT4RoIForConditionalGeneration:
    with torch.device("meta"):
        return GPT4RoIForConditionalGeneration(config)


def _expected(config: GPT4RoIConfig) -> dict[str, torch.Tensor]:
    model = _meta_model(config)
    tied = set(model.all_tied_weights_keys)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _fit(preset: str, dtype: str, devices: list[Device]) -> Fit:
    weights = _num_parameters(preset) * _TYPES[dtype]
    working = working_bytes(GPT4RoIConfig.preset(preset), _TYPES[dtype])
    extra = {device.name: _GPU_RUNTIME_BYTES if device.name.startswith("cuda") else 0 for device in devices}
    fits = {device.name: weights + working + extra[device.name] <= device.free_bytes for device in devices}
    return Fit(preset, dtype, _num_parameters(preset), weights, working, fits)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _torchvision_problems() -> list[str]:
    """Return the problems of torchvision: a build for another PyTorch imports, but fails at the first operator."""
    try:
        from torchvision.ops import roi_align

        pooled = roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]), 2, aligned=True)
        works = bool(torch.allclose(pooled, torch.ones(1, 1, 2, 2)))
    except Exception as error:
        return [f"torchvision's roi_align does not run ({type(error).__name__}): install torch and torchvision together"]
    return [] if works else ["torchvision's roi_align returns wrong values: install torch and torchvision together"]


def _cpu() -> Device:
    total, free = memory()
    return Device("cpu", f"{platform.machine()}, {os.cpu_count() or 1} cores", total, free)


def _gpus() -> tuple[list[Device], list[str]]:
    """Return every CUDA device, or Apple's, and their problems."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns about old drivers; the report has its own line
            if torch.cuda.is_available():
                return [_cuda(index) for index in range(torch.cuda.device_count())], []
            if torch.backends.mps.is_available():
                total, free = memory()
                return [Device("mps", "shares the machine's memory", total, free)], []
            driver = Path("/proc/driver/nvidia").exists()
    except Exception as error:  # a broken driver can raise anything
        return [], [f"the GPU cannot be used ({type(error).__name__}): check its driver"]
    return [], ["PyTorch cannot use the NVIDIA driver here: install a PyTorch built for its CUDA"] if driver else []


def _cuda(index: int) -> Device:
    free, total = torch.cuda.mem_get_info(index)
    return Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 / 10 else f"{num_bytes / 2**20:.0f} MiB"


def _device_table(devices: tuple[Device, ...]) -> Table:
    table = Table("device", "description", "memory", "free", title="Devices", title_justify="left")
    for device in devices:
        table.add_row(device.name, device.description, _gib(device.total_bytes), _gib(device.free_bytes))
    return table


def _fit_table(report: DoctorReport) -> Table:
    table = Table("preset", "type", "parameters", "weights", "other memory", title="Presets that fit", title_justify="left")
    for device in report.devices:
        table.add_column(device.name)
    for fit in report.fits:
        yes_no = ["yes" if fit.fits[device.name] else "no" for device in report.devices]
        size = f"{fit.num_parameters / 1e6:,.1f} M"
        table.add_row(fit.preset, fit.dtype, size, _gib(fit.weight_bytes), _gib(fit.working_bytes), *yes_no)
    return table


def _weight_table(weights: tuple[Weights, ...]) -> Table:
    table = Table("weights", "complete", "problem", title="Weights", title_justify="left")
    for each in weights:
        table.add_row(Text(each.name), "yes" if each.complete else "no", Text(each.problem))
    return table
