"""GPT4RoI as a task: its packed loss on a mixture of record sets."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from roi_agent.model.train.held_out import HeldOut
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.processes import shard
from roi_agent.model.train.samples import Batch, RecordFormat, Samples
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import decoder_layers, prepare
from roi_agent.model.train.task import Metrics, Task

_GATE_SHARE = 50.0  # of the learning rate: at 1, a gate that starts at zero hardly opens


class RecordTask(Task):
    """A training job as a task.  The weight of a batch is its number of answer tokens."""

    phase = kind = "records"
    metrics = ("tokens_per_second", "utilisation", "held_out_loss", "held_out_exact")
    bar_metrics = ()
    samples: Samples

    def __init__(self, job: RecordJob, accelerator: Accelerator) -> None:
        settings, self.device = job.settings, accelerator.device
        parts = open_parts(job.data, settings.data, conversations=settings.conversations)
        self.mixture = Mixture.make(parts, epochs=settings.epochs, batch=settings.batch, seed=settings.seed)
        self.schedule = settings.schedule(len(self.mixture) // settings.batch)
        model, processor = job.start.load(settings)
        self.num_parameters = sum(each.numel() for each in model.language_model.parameters())
        prepare(model, settings, job.random)
        self.module = _place(PackedLoss(model), settings, accelerator)
        groups = _groups(self.module, settings.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.samples = Samples(self.mixture, processor, length=settings.length, formats=RecordFormat.by_part(settings))
        self.collate = self.samples.collate
        self.held_out = HeldOut(job.data, settings.evaluate, processor, length=settings.length) if settings.evaluate else None

    def loss(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """The sum over answer tokens."""
        return self.module(batch.to(self.device)), {}

    def ids(self, places: Sequence[int]) -> list[str]:
        """Record ids."""
        return self.mixture.ids(places)

    def weight(self, batch: Batch) -> int:
        """The number of answer tokens."""
        return batch.num_answer_tokens

    def num_tokens(self, batch: Batch) -> int:
        """The number of tokens processed by the language model."""
        return batch.num_tokens

    def left_out(self, batch: Batch) -> list[str]:
        """Skipped records, with reasons."""
        return batch.left_out

    def evaluate(self) -> Metrics:
        """Loss and exact match on held-out records."""
        assert self.held_out is not None
        scores = self.held_out.evaluate(self.module, self.device)
        return {"held_out_loss": scores.loss, "held_out_exact": scores.exact}


def _place(module: PackedLoss, settings: RecordSettings, accelerator: Accelerator) -> PackedLoss:
    """The module on its device, or sharded over the processes."""
    if accelerator.num_processes > 1:
        shard(module, decoder_layers(module.model), bf16=settings.precision == "bf16")
    return module.to(accelerator.device)


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups with their share of the learning rate: matrices, with weight decay; biases and norms; the focal gate."""
    learning = {name: each for name, each in module.named_parameters() if each.requires_grad}
    gate = [learning.pop(name) for name in list(learning) if name.endswith("focal_gate")]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in learning.values() if each.dim() > 1], "weight_decay": weight_decay, "share": 1.0},
        {"params": [each for each in learning.values() if each.dim() <= 1], "weight_decay": 0.0, "share": 1.0},
        {"params": gate, "weight_decay": 0.0, "share": _GATE_SHARE},
    ]
    return [group for group in groups if group["params"]]
