"""Training on records: one loop for nano on a CPU and for 7B on many GPUs.

It stands beside `loop.py`, which trains the toy world's models through named phases of a fixed number of steps, each with samples
and an objective of its own, in one process. Here there is one phase over epochs of a mixture, and what fills the loop is what
that one lacks: shares of a batch, accumulation, sharded weights and checkpoints. One loop for both would be mostly branches.
"""

import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.progress import Progress, TaskID
from torch import nn
from torch.utils.data import DataLoader

from roi_agent.model.train.divergence import LossGuard
from roi_agent.model.train.export import export
from roi_agent.model.train.held_out import HeldOut
from roi_agent.model.train.log import Log, progress_bar
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.processes import launch, shard
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.record_job import RecordJob
from roi_agent.model.train.record_settings import RecordSettings
from roi_agent.model.train.run_checkpoints import Standing, load, save
from roi_agent.model.train.samples import Batch, Samples, Share
from roi_agent.model.train.speed import peak_flops, utilisation
from roi_agent.model.train.starting import decoder_layers, prepare

_PHASE = "records"  # in the log's column of phases
_FIGURES = ("tokens_per_second", "gradient_norm", "utilisation", "held_out_loss", "held_out_exact", "left_out")


def train_on_records(job: RecordJob, *, processes: int = 1, show_progress: bool = True) -> Path:
    """Train, and write the model that comes out; the same call goes on where an earlier one was cut.

    Returns the folder of the model.
    Errors: before the first step those of `check_ready`; later TrainingDiverged, TrainingFailed, and those of images and records.
    """
    check_ready(job, processes)
    if processes > 1:
        launch(run, job, show_progress, processes=processes)
    else:
        run(job, show_progress)
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
    model, processor = job.start.load()
    parameters = sum(each.numel() for each in model.language_model.parameters())
    prepare(model, settings, job.reset)
    module = _placed(PackedLoss(model), settings, accelerator)
    optimizer = torch.optim.AdamW(_groups(module, settings.weight_decay), lr=settings.learning_rate, fused=True)
    standing = load(job.folder, module, optimizer, alone=accelerator.num_processes == 1)
    if standing.step == steps:
        return
    held_out = HeldOut(job.data, settings.evaluate, processor, length=settings.length) if settings.evaluate else None
    samples = Samples(mixture, processor, length=settings.length)
    loader = _loader(samples, settings, range(standing.step, steps), accelerator)
    with _Record(job, standing, steps, parameters, accelerator, show_progress) as shown:
        guard = LossGuard(factor=settings.spike, warm=settings.warm(steps), losses=standing.losses)
        batches = iter(loader)
        for step in range(standing.step, steps):
            micros = [next(batches) for _ in range(settings.accumulation(accelerator.num_processes))]
            torch.manual_seed(settings.seed + step * accelerator.num_processes + accelerator.process_index)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step, steps)
            loss, tokens = _backward(module, optimizer, micros, accelerator, settings)
            places = range(step * settings.batch, (step + 1) * settings.batch)
            guard.check(step, loss, lambda places=places: mixture.ids(places))  # type: ignore[misc]
            norm = _clipped(module, settings.clip)
            guard.check_gradient(step, norm, lambda places=places: mixture.ids(places))  # type: ignore[misc]
            optimizer.step()
            done = step + 1
            shown.step(loss, tokens, norm, settings.rate(step, steps), micros)
            if held_out and settings.evaluate and (done % settings.evaluate.every == 0 or done == steps):
                with _precision(settings, device):
                    scores = held_out.evaluate(module, device)
                shown.held_out(scores.loss, scores.exact)
            if done % settings.log_every == 0 or done == steps:
                shown.write(done, settings.rate(step, steps))
            if done % settings.save_every == 0 or done == steps:
                standing = Standing(done, shown.seconds, list(guard.losses))
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
    """What learns: matrices, which decay, and biases and norms, which do not."""
    learning = [each for each in module.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in learning if each.dim() > 1], "weight_decay": weight_decay},
        {"params": [each for each in learning if each.dim() <= 1], "weight_decay": 0.0},
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
        worker_init_fn=_one_thread,
        prefetch_factor=4 if settings.workers else None,
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


class _Record:
    """What the main process writes of a run: the log as CSV, TensorBoard's files, and the progress bar."""

    def __init__(
        self, job: RecordJob, standing: Standing, steps: int, parameters: int, accelerator: Accelerator, show_progress: bool
    ) -> None:
        self.job, self.standing, self.steps, self.parameters, self.accelerator = job, standing, steps, parameters, accelerator
        self.main = accelerator.is_main_process
        self.recent: defaultdict[str, list[float]] = defaultdict(list)
        self.tokens, self.start, self.since = 0, time.monotonic(), time.monotonic()
        self.peak = peak_flops(accelerator.device)
        self.bar: Progress = progress_bar(show_progress and self.main)
        self.task: TaskID | None = None

    @property
    def seconds(self) -> float:
        """Seconds of this run, with those before it was cut."""
        return self.standing.seconds + time.monotonic() - self.start

    def __enter__(self) -> "_Record":
        if self.main:
            from torch.utils.tensorboard import SummaryWriter

            done = self.standing.step
            self.log = Log(self.job.folder / "log.csv", _PHASE, done, _FIGURES, digits=6).__enter__()
            self.board = SummaryWriter(str(self.job.folder / "tensorboard"), purge_step=done + 1)
            self.task = self.bar.add_task(self.job.folder.name, total=self.steps, completed=done, figures="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.main:
            self.bar.stop()
            self.log.__exit__()
            self.board.close()

    def step(self, loss: float, tokens: int, norm: float, rate: float, micros: list[Batch]) -> None:
        """Note a step; processes tell one another of records that were left out."""
        left_out = [each for micro in micros for each in micro.left_out]
        number = self.accelerator.reduce(torch.tensor(len(left_out), device=self.accelerator.device), "sum")
        if int(number):
            self._leave_out(gather_object(left_out))
        self.tokens += tokens
        for name, value in (("loss", loss), ("gradient_norm", norm), ("left_out", float(number))):
            self.recent[name].append(value)
        if self.task is not None:
            speed = self.tokens / max(1e-9, time.monotonic() - self.since)
            mean = sum(self.recent["loss"]) / len(self.recent["loss"])
            self.bar.update(self.task, advance=1, figures=f"loss {mean:.3f}  {speed:,.0f} tokens/s")

    def held_out(self, loss: float, exact: float) -> None:
        """Note an evaluation."""
        self.recent["held_out_loss"], self.recent["held_out_exact"] = [loss], [exact]

    def write(self, done: int, rate: float) -> None:
        """A row of the log and the same for TensorBoard, with the means since the last one."""
        now = time.monotonic()
        speed = self.tokens / max(1e-9, now - self.since)
        self.recent["tokens_per_second"] = [speed]
        if self.peak:
            share = speed / self.accelerator.num_processes
            self.recent["utilisation"] = [utilisation(share, self.parameters, self.peak)]
        if self.main:
            self.log.write(done, self.seconds, rate, self.recent)
            for name, values in (*self.recent.items(), ("learning_rate", [rate])):
                self.board.add_scalar(name, sum(values) / len(values), done)
        self.recent.clear()
        self.tokens, self.since = 0, now

    def _leave_out(self, ids: list[str]) -> None:
        if self.main:
            with (self.job.folder / "left_out.txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{each}: longer than {self.job.settings.length} tokens\n" for each in ids)
