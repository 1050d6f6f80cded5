"""The training loop: phases one after another, each resumable at its last saved step.

A run's folder holds one file of weights for every finished phase, the state of the one in progress, and a log as CSV.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from roi_agent.model.checkpoints.loading import without_bars
from roi_agent.model.errors import TrainingDiverged
from roi_agent.model.toy.train.detector import DetectorTrainee
from roi_agent.model.toy.train.region_model import RegionModelTrainee
from roi_agent.model.toy.train.segmenter import SegmenterTrainee
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.train.trainee import Trainee
from roi_agent.model.train.log import Log, remember, steps_bar, summary
from roi_agent.model.train.parameters import freeze_all_but
from roi_agent.model.train.reading import begin_reading
from roi_agent.model.utils.atomic_files import save_aside
from roi_agent.model.utils.progress import waiting

# What a preset trains; all others are sizes of the region model.
TRAINEES: dict[str, Callable[[TrainSettings, Path], Trainee]] = {
    "nano-detector": DetectorTrainee,
    "nano-segmenter": SegmenterTrainee,
}


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a phase stands: the next step, the optimiser's state and the seconds spent."""

    step: int
    seconds: float
    optimizer: dict[str, Any]


def train(settings: TrainSettings, folder: Path, *, only: str | None = None, show_progress: bool = True) -> Path:
    """Run all phases that are not finished in the folder, or only the one named; returns the folder of the final model.

    What a finished phase learned is loaded before the next one begins. Running it again goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(settings.seed)
    trainee = TRAINEES.get(settings.preset, RegionModelTrainee)(settings, folder)
    for phase in settings.phases:
        finished = folder / f"{phase.name}.safetensors"
        if not finished.exists() and only in (None, phase.name):
            _run_phase(settings, phase, trainee, folder, show_progress=show_progress)
        if finished.exists():
            load_part(trainee.model, load_file(finished))
    target = folder / "model"
    with waiting("writing the model", show_progress), without_bars():
        trainee.save(target)
    return target


def _run_phase(settings: TrainSettings, phase: PhaseSettings, trainee: Trainee, folder: Path, *, show_progress: bool) -> None:
    model = trainee.model
    accelerator = Accelerator()  # without a precision: it has one for the whole process, and phases differ
    learning = freeze_all_but(model, phase.trained)
    optimizer = torch.optim.AdamW(
        _groups(model, phase), lr=phase.learning_rate, weight_decay=phase.weight_decay, betas=(0.9, 0.98)
    )
    resume = _load_resume(folder / phase.name, model, optimizer)
    loader = _loader(settings, phase, trainee, resume.step)
    prepared, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    recent: defaultdict[str, list[float]] = defaultdict(list)
    start = time.monotonic() - resume.seconds
    log_file = Log(folder / "log.csv", phase.name, resume.step, trainee.figures)
    with steps_bar(show_progress) as progress, log_file as log:
        task = progress.add_task(phase.name, total=phase.steps, completed=resume.step, figures="")
        for step, batch in enumerate(loader, resume.step):
            torch.manual_seed(settings.seed + step)  # a resumed run draws the same noise
            rate = learning_rate(phase, step)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=phase.precision == "bf16"):
                loss, figures = trainee.loss(phase, accelerator.unwrap_model(prepared), batch)
            _optimise(accelerator, optimizer, learning, loss, f"phase {phase.name}, step {step}")
            remember(recent, loss, figures)
            progress.update(task, advance=1, figures=summary(recent, trainee.shown))
            last = step + 1 == phase.steps
            if (step + 1) % settings.log_every == 0 or last:
                log.write(step + 1, time.monotonic() - start, rate, recent)
                recent.clear()
            if (step + 1) % settings.save_every == 0 and not last:
                state = Resume(step + 1, time.monotonic() - start, optimizer.state_dict())
                _save_resume(folder / phase.name, model, phase, state)
    save_aside(folder / f"{phase.name}.safetensors", partial(save_file, _part(model, phase.trained)))
    for leftover in (folder / phase.name).glob("*"):
        leftover.unlink()


def _groups(model: nn.Module, phase: PhaseSettings) -> list[dict[str, Any]]:
    """What learns, by its share of the learning rate: that of the first of `rates` that its name starts with, or 1."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            share = next((share for prefix, share in phase.rates.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(share, []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]


def _optimise(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, learning: list[nn.Parameter], loss: Tensor, where: str
) -> None:
    if not bool(torch.isfinite(loss)):
        raise TrainingDiverged(f"the loss is {loss.item()} at {where}", do="lower the learning rate; the last saved step is kept")
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(learning, 1.0)
    optimizer.step()


def learning_rate(phase: PhaseSettings, step: int) -> float:
    """Linear warm-up, then half a cosine down to `final_rate` of the peak."""
    warm = max(1, round(phase.steps * phase.warmup))
    if step < warm:
        return phase.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, phase.steps - warm)
    left = phase.final_rate + (1 - phase.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    return phase.learning_rate * left


# ---------------------------------------------------------------- data


class _Consecutive(Sampler[int]):
    """Every index once, in order, from a given one: resuming needs no replay."""

    def __init__(self, start: int, stop: int) -> None:
        self.indices = range(start, stop)

    def __iter__(self) -> Any:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def _loader(settings: TrainSettings, phase: PhaseSettings, trainee: Trainee, step: int) -> "DataLoader[Any]":
    # No two phases see the same scenes.
    first = sum(each.steps * each.scenes for each in settings.phases[: settings.phases.index(phase)])
    return DataLoader(
        trainee.dataset(phase, first),
        batch_size=phase.scenes,
        sampler=_Consecutive(step * phase.scenes, phase.steps * phase.scenes),
        collate_fn=trainee.collate,
        num_workers=settings.workers,
        worker_init_fn=begin_reading,
        prefetch_factor=4 if settings.workers else None,
    )


# ---------------------------------------------------------------- what is kept


def load_part(model: nn.Module, part: dict[str, Tensor]) -> None:
    """Weights of some modules into a model; names that it lacks fail."""
    unexpected = model.load_state_dict(part, strict=False).unexpected_keys
    assert not unexpected, unexpected


def _part(model: nn.Module, trained: Iterable[str]) -> dict[str, Tensor]:
    # A tied head is stored once, under its embedding's name.
    seen: dict[int, str] = {}
    part = {}
    for name, tensor in model.state_dict().items():
        if any(name.startswith(prefix) for prefix in trained) and seen.setdefault(tensor.data_ptr(), name) == name:
            part[name] = tensor.contiguous().cpu()
    return part


def _save_resume(folder: Path, model: nn.Module, phase: PhaseSettings, state: Resume) -> None:
    folder.mkdir(exist_ok=True)
    values = {"step": state.step, "seconds": state.seconds, "optimizer": state.optimizer, "weights": _part(model, phase.trained)}
    save_aside(folder / "state.pt", partial(torch.save, values))


def _load_resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Resume:
    path = folder / "state.pt"
    if not path.exists():
        return Resume(0, 0.0, {})
    values = torch.load(path, weights_only=True, map_location="cpu")
    load_part(model, values["weights"])
    optimizer.load_state_dict(values["optimizer"])
    return Resume(values["step"], values["seconds"], values["optimizer"])
