"""Training on records: one loop for nano on a CPU and for 7B on many GPUs.

It stands beside `toy/train/loop.py`, which trains the toy world's models through named phases of a fixed number of steps, each
with samples and an objective of its own, in one process. Here there is one phase over epochs of a mixture, and what fills the
loop is what that one lacks: shares of a batch, accumulation, sharded weights and checkpoints. One loop for both would be mostly
branches.
"""

import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from roi_agent.model.train.divergence import Diverged, LossGuard
from roi_agent.model.train.export import export
from roi_agent.model.train.held_out import HeldOut
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.processes import launch, shard
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.reading import begin_reading
from roi_agent.model.train.report import Report
from roi_agent.model.train.run_checkpoints import Standing, load, save
from roi_agent.model.train.samples import Batch, Forms, Samples, Share
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import decoder_layers, prepare
from roi_agent.model.utils.progress import waiting

_GATE_SHARE = 50.0  # of the learning rate: at the common one a gate that starts at zero stays all but closed


def train_on_records(job: RecordJob, *, processes: int = 1, show_progress: bool = True) -> Path:
    """Train, and write the model that comes out; the same call goes on where an earlier one was cut.

    Returns the folder of the model.
    Errors: before the first step those of `check_ready`; later TrainingDiverged, TrainingFailed, and those of images and records.
    """
    with waiting("looking at the records and the model", show_progress):
        check_ready(job, processes)
    if processes > 1:
        launch(run, job, show_progress, processes=processes)
    else:
        run(job, show_progress)
    with waiting("writing the model", show_progress):
        return export(job)


def run(job: RecordJob, show_progress: bool) -> None:
    """All steps that are left, in this process, as one of those that share the work."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OMP_NUM_THREADS")  # that one thread is taken for each process
        accelerator = Accelerator(cpu=not torch.cuda.is_available())
    settings, device = job.settings, accelerator.device
    parts = open_parts(job.data, settings.data, conversations=settings.conversations)
    mixture = Mixture.make(parts, epochs=settings.epochs, batch=settings.batch, seed=settings.seed)
    steps = len(mixture) // settings.batch
    with waiting("loading the model", show_progress) if accelerator.is_main_process else nullcontext():
        model, processor = job.start.load(settings)
    parameters = sum(each.numel() for each in model.language_model.parameters())
    prepare(model, settings, job.random)
    module = _placed(PackedLoss(model), settings, accelerator)
    optimizer = torch.optim.AdamW(_groups(module, settings.weight_decay), lr=settings.learning_rate, fused=True)
    standing = load(job.folder, module, optimizer, alone=accelerator.num_processes == 1)
    if standing.step == steps:
        return
    held_out = HeldOut(job.data, settings.evaluate, processor, length=settings.length) if settings.evaluate else None
    samples = Samples(mixture, processor, length=settings.length, forms=Forms.by_part(settings))
    loader = _loader(samples, settings, range(standing.step, steps), accelerator)
    diverged = Diverged.load(job.folder)
    with Report(job, standing, steps, parameters, accelerator, show_progress) as report:
        guard = LossGuard(factor=settings.spike, warm=settings.warm(steps), losses=standing.losses)
        batches = iter(loader)
        for step in range(standing.step, steps):
            micros = [next(batches) for _ in range(settings.accumulation(accelerator.num_processes))]
            torch.manual_seed(settings.seed + step * accelerator.num_processes + accelerator.process_index)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step, steps) * group["share"]
            ids = partial(mixture.ids, range(step * settings.batch, (step + 1) * settings.batch))
            if step in diverged.steps:
                report.left_out(step, ids())
            else:
                with diverged.noted(step, accelerator):
                    loss, tokens = _backward(module, optimizer, micros, accelerator, settings)
                    guard.check(step, loss, ids)
                    norm = _clipped(module, settings.clip)
                    guard.check_gradient(step, norm, ids)
                optimizer.step()
                report.step(loss, tokens, norm, micros)
            done = step + 1
            if held_out and settings.evaluate and (done % settings.evaluate.every == 0 or done == steps):
                with _precision(settings, device):
                    scores = held_out.evaluate(module, device)
                report.held_out(scores.loss, scores.exact)
            if done % settings.log_every == 0 or done == steps:
                report.write(done, settings.rate(step, steps))
            if done % settings.save_every == 0 or done == steps:
                standing = Standing(done, report.seconds, list(guard.losses))
                save(job.folder, module, optimizer, standing, accelerator=accelerator)


def _backward(
    module: nn.Module, optimizer: torch.optim.Optimizer, micros: list[Batch], accelerator: Accelerator, settings: RecordSettings
) -> tuple[float, int]:
    """Gradients of the loss, a mean over the answer tokens of the whole batch: of all processes and micro-batches.

    Returns that loss and the tokens that all processes read.
    """
    device = accelerator.device
    counts = [sum(each.num_answer_tokens for each in micros), sum(each.num_tokens for each in micros)]
    answer_tokens, tokens = accelerator.reduce(torch.tensor(counts, device=device), "sum").tolist()
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    for micro in micros:
        with _precision(settings, device):
            loss = module(micro.to(device)) / max(1, answer_tokens)
        # FSDP takes the mean of the processes' gradients, and what is wanted is their sum.
        (loss * accelerator.num_processes).backward()
        total += loss.detach()
    return float(accelerator.reduce(total, "sum")), int(tokens)


def _clipped(module: nn.Module, most: float) -> float:
    norm: Any = nn.utils.clip_grad_norm_([each for each in module.parameters() if each.requires_grad], most)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _precision(settings: RecordSettings, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def _placed(module: PackedLoss, settings: RecordSettings, accelerator: Accelerator) -> PackedLoss:
    """The module where it is to run: on the device, or shared out over the processes."""
    layers = decoder_layers(module.model)
    if settings.compile:
        for layer in layers:
            layer.compile(dynamic=True)  # rows differ in length
    if accelerator.num_processes > 1:
        shard(module, layers, bf16=settings.precision == "bf16")
    return module.to(accelerator.device)


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What learns, with its share of the rate: matrices, which decay; biases and norms; and the gate of focal crops."""
    learning = {name: each for name, each in module.named_parameters() if each.requires_grad}
    gate = [learning.pop(name) for name in list(learning) if name.endswith("focal_gate")]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in learning.values() if each.dim() > 1], "weight_decay": weight_decay, "share": 1.0},
        {"params": [each for each in learning.values() if each.dim() <= 1], "weight_decay": 0.0, "share": 1.0},
        {"params": gate, "weight_decay": 0.0, "share": _GATE_SHARE},
    ]
    return [group for group in groups if group["params"]]


def _loader(samples: Samples, settings: RecordSettings, steps: range, accelerator: Accelerator) -> "DataLoader[Any]":
    share = Share(
        steps=steps,
        batch=settings.batch,
        micro_batch=settings.micro_batch,
        processes=accelerator.num_processes,
        process=accelerator.process_index,
    )
    return DataLoader(
        samples,
        batch_sampler=share,
        collate_fn=samples.collate,
        num_workers=settings.workers,
        worker_init_fn=begin_reading,
        prefetch_factor=4 if settings.workers else None,
    )
