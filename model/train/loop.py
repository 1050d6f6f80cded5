"""The training loop, for the toy world on a CPU as for 7B on many GPUs."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import AdamW

from roi_agent.model.train.divergence import Diverged, LossGuard
from roi_agent.model.train.reading import batches
from roi_agent.model.train.report import Report, StepResult
from roi_agent.model.train.run_checkpoints import TrainingState, load, newest_step, save
from roi_agent.model.train.task import Schedule, Task


def run(task: Task, folder: Path, run_folder: Path, accelerator: Accelerator, *, show_progress: bool) -> None:
    """Take the remaining steps of a task; its module then holds the trained weights.

    folder: of the task's checkpoints.  run_folder: of the log and the list of skipped samples, shared by the tasks of a run.
    Called in every process that shares the work.  Errors: TrainingDiverged, TrainingFailed, CheckpointMismatch.
    """
    schedule, module, optimizer = task.schedule, task.module, task.optimizer
    alone = accelerator.num_processes == 1
    if newest_step(folder) >= schedule.steps:
        load(folder, module, alone=alone)
        return
    _initialize_state(optimizer)
    state = load(folder, module, optimizer, alone=alone)
    diverged = Diverged.load(folder)
    guard = LossGuard(factor=schedule.spike, warmup_steps=schedule.warmup_steps, losses=state.losses, kind=task.kind)
    steps = range(state.step, schedule.steps)
    micro_batches = iter(batches(task, steps, accelerator))
    accumulated = schedule.batch // (schedule.micro_batch * accelerator.num_processes)
    with Report(task, folder, run_folder, state, accelerator, show_progress) as report:
        for step in steps:
            micros = [next(micro_batches) for _ in range(accumulated)]
            # Noise depends on seed and step alone, so a resumed run draws the same.
            torch.manual_seed(schedule.seed + step * accelerator.num_processes + accelerator.process_index)
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group["share"]
            ids = partial(task.ids, range(step * schedule.batch, (step + 1) * schedule.batch))
            if step in diverged.steps:
                report.left_out(step, ids())
            else:
                with diverged.recording(step, accelerator):
                    result = _backward(task, micros, accelerator)
                    guard.check(step, result.loss, ids)
                    norm = _clip_gradients(module, schedule.clip)
                    guard.check_gradient(step, norm, ids)
                optimizer.step()
                report.step(result, norm)
            done = step + 1
            last = done == schedule.steps
            if schedule.evaluate_every and (done % schedule.evaluate_every == 0 or last):
                with _precision(schedule, accelerator.device):
                    report.evaluation(task.evaluate())
            if done % schedule.log_every == 0 or last:
                report.write(done, schedule.rate(step))
            if done % schedule.save_every == 0 or last:
                state = TrainingState(done, report.seconds, list(guard.losses))
                save(folder, module, None if last else optimizer, state, accelerator=accelerator)


def _initialize_state(optimizer: AdamW) -> None:
    """Create the state that AdamW creates at the first gradient.

    Weights without a gradient before the first checkpoint would lack it, and loading expects it.
    """
    for group in optimizer.param_groups:
        for each in group["params"]:
            step = torch.zeros((), device=each.device if group["fused"] else None)
            optimizer.state[each] = {"step": step, "exp_avg": torch.zeros_like(each), "exp_avg_sq": torch.zeros_like(each)}


def _backward(task: Task, micros: list[Any], accelerator: Accelerator) -> StepResult:
    """Compute gradients of the loss, a weighted mean over the micro-batches of all processes."""
    device = accelerator.device
    left_out = [line for micro in micros for line in task.left_out(micro)]
    counts = [sum(map(task.weight, micros)), sum(map(task.num_tokens, micros)), len(left_out)]
    weight, tokens, num_left_out = accelerator.reduce(torch.tensor(counts, device=device), "sum").tolist()
    task.optimizer.zero_grad(set_to_none=True)
    total, metrics = torch.zeros((), device=device), []
    for micro in micros:
        with _precision(task.schedule, device):
            loss, values = task.loss(micro)
        loss = loss / max(1, weight)
        # FSDP averages gradients over processes; this makes it a sum.
        (loss * accelerator.num_processes).backward()
        total += loss.detach()
        metrics.append(values)
    return StepResult(float(accelerator.reduce(total, "sum")), metrics, int(tokens), left_out, int(num_left_out))


def _clip_gradients(module: nn.Module, most: float) -> float:
    norm: Any = nn.utils.clip_grad_norm_([each for each in module.parameters() if each.requires_grad], most)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _precision(schedule: Schedule, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=schedule.bf16)
