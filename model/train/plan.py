"""The plan of a training on records, without starting it: steps, tokens, disk space and memory per GPU.

Weights are counted on the meta device, so that planning for 7B is free. Activations are estimated from the shapes of full rows,
and reported as an estimate; the rest is exact.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import CROPS_AT_ONCE, GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.train.mixture import Mixture, Part
from roi_agent.model.train.packing import pack, prefix_ids
from roi_agent.model.train.samples import RecordFormat, encode_records
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import adapted, decoder_layers, prepare

_SAMPLED = 200  # samples whose tokens are counted and extrapolated
_REGIONS = 40  # per image, assumed for activations
_OVERHEAD = 1.5e9  # bytes of the CUDA context, library workspaces and fragmentation
_HALF, _FULL = 2, 4  # bytes of a number


@dataclass(frozen=True, slots=True)
class Data:
    """The data of a run.  samples, steps: exact.  tokens, answer_tokens: estimated from a sample of the data."""

    samples: int
    steps: int
    tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one GPU, in bytes.

    gathered: weights gathered by FSDP while in use; in one process, the bfloat16 copies made by autocast.
    """

    weights: int
    gradients: int
    optimiser: int
    gathered: int
    activations: int
    overhead: int = int(_OVERHEAD)

    @property
    def total(self) -> int:
        """The total."""
        return sum(asdict(self).values())


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training takes.  parameters, trained: counts.  checkpoint, exported: bytes on disk of one each.

    loading: bytes of host memory while every process holds the whole model, before it is sharded.
    """

    parameters: int
    trained: int
    processes: int
    memory: Memory
    checkpoint: int
    exported: int
    loading: int
    data: Data | None = None

    def lines(self) -> list[str]:
        """The plan as lines of text."""
        parts = [f"{_bytes(value)} {name}" for name, value in asdict(self.memory).items()]
        each = f"each of {self.processes} GPUs" if self.processes > 1 else "the GPU"
        found = [
            f"parameters: {_count(self.parameters)}, {_count(self.trained)} of them trained",
            f"memory of {each}: {_bytes(self.memory.total)} ({', '.join(parts)}; activations are estimated)",
            f"host memory: {_bytes(self.loading)} while all processes load the model",
            f"disk: {_bytes(self.checkpoint)} for each of two checkpoints, and {_bytes(self.exported)} for the model",
        ]
        if self.data:
            counts = f"{self.data.samples:,} samples in {self.data.steps:,} steps"
            found.append(f"data: {counts}, about {self.data.tokens:,} tokens, {self.data.answer_tokens:,} of them in answers")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        values["memory"]["total"] = self.memory.total
        return values


def estimate(
    settings: RecordSettings, config: GPT4RoIConfig, *, processes: int, random: Sequence[str] = (), data: Data | None = None
) -> Plan:
    """Estimate what a training takes.

    config: of the start.  processes: one per GPU.  random: as in `prepare`.  Error: InvalidSetting.
    """
    settings.check_shares(processes)
    config = adapted(config, settings)
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration._from_config(config, dtype=torch.float32)
        prepare(model, settings, random)
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    number = _FULL if settings.precision == "float32" else _HALF
    memory = Memory(
        weights=(trained * _FULL + (total - trained) * number) // processes,
        gradients=trained * _FULL // processes,
        optimiser=2 * trained * _FULL // processes,
        gathered=_gathered(model, total, trained, number, processes),
        activations=_activations(model, settings, number),
    )
    merged = total - sum(each.numel() for name, each in model.named_parameters() if "lora_" in name)
    loading = processes * (trained * _FULL + (total - trained) * number)
    return Plan(total, trained, processes, memory, 3 * trained * _FULL, merged * number, loading, data)


def count_data(settings: RecordSettings, parts: Sequence[Part], processor: GPT4RoIProcessor) -> Data:
    """Count steps and estimate tokens of a mixture."""
    mixture = Mixture.make(parts, epochs=settings.epochs, batch=settings.batch, seed=settings.seed)
    prefix, formats = prefix_ids(processor), RecordFormat.by_part(settings)
    places = np.unique(np.linspace(0, len(mixture) - 1, min(len(mixture), _SAMPLED)).astype(int))
    tokens = answers = 0
    for place in places:
        part, records = mixture.read(int(place))
        conversations, _ = encode_records(processor, prefix, records, formats[part.name])
        rows, _ = pack(prefix, conversations, length=settings.length)
        tokens += sum(len(row.ids) for row in rows)
        answers += sum(label >= 0 for row in rows for label in row.labels)
    share = len(mixture) / len(places)
    return Data(len(mixture), len(mixture) // settings.batch, round(tokens * share), round(answers * share))


def _bytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:,.1f} MB"


def _gathered(model: GPT4RoIForConditionalGeneration, total: int, trained: int, number: int, processes: int) -> int:
    """With FSDP: two layers, one of them prefetched, and everything outside the layers, with its gradients before sharding."""
    if processes == 1:
        return trained * number if number == _HALF else 0  # copies made by autocast
    layers = decoder_layers(model)
    inside = sum(each.numel() for layer in layers for each in layer.parameters())
    largest = max(sum(each.numel() for each in layer.parameters()) for layer in layers)
    outside = [each for name, each in model.named_parameters() if ".layers." not in name or not name.startswith("language_model")]
    learning = sum(each.numel() for each in outside if each.requires_grad)
    return 2 * largest * (number + _FULL) + (total - inside) * number + learning * (number + _FULL)


def _activations(model: GPT4RoIForConditionalGeneration, settings: RecordSettings, number: int) -> int:
    """Activations of one full row for each image of a micro-batch."""
    images, tokens = settings.micro_batch, settings.micro_batch * settings.length
    text: Any = model.config.text_config
    hidden: int = text.hidden_size
    layers: int = text.num_hidden_layers
    # A layer stores its input, two normed inputs (also in float32), queries, keys, values, attention, and three of the MLP.
    inner: int = tokens * (12 * hidden + 4 * text.intermediate_size) * number
    if settings.lora:
        inner += tokens * 7 * settings.lora.rank * number + 3 * tokens * hidden * number
    checkpointed = settings.gradient_checkpointing
    language = layers * tokens * hidden * number + inner if checkpointed else layers * inner
    logits: int = 3 * (tokens // 2) * text.vocab_size * _FULL  # of answers, half of all tokens at most
    mask = images * settings.length**2
    return language + logits + mask + _encoder_activations(model.config, images, number, checkpointed=checkpointed)


def _encoder_activations(config: GPT4RoIConfig, images: int, number: int, *, checkpointed: bool) -> int:
    """Maps of all fusions (in the current one also resized neighbours and float32 norms) and of all regions.

    With focal crops, every region is assumed to be small, an upper bound.
    """
    seen = images * (1 + _REGIONS) if config.focal_crop else images  # the encoder processes each crop as an image
    worked_on = max(images, CROPS_AT_ONCE) if config.focal_crop else images
    maps = config.region_channels * sum(side * side for side in config.pyramid_sizes) * number
    fused = config.num_fusions * seen * maps + 5 * worked_on * maps if checkpointed else 5 * config.num_fusions * seen * maps
    pooled = images * _REGIONS * config.region_channels * config.roi_size**2 * config.num_levels * (1 + config.focal_crop)
    estimate: int = fused + seen * maps + pooled * (_FULL + 2 * number)
    return estimate


def _count(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:.2f} million"
