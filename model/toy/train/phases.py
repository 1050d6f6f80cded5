"""The training of the nano models in phases, each a task of the training loop.

A run's folder contains the log as CSV, and in `phases/NAME` the checkpoints of each phase; only the last one of a finished phase.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from roi_agent.model.checkpoints.loading import without_bars
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.train.detector import DetectorTrainee
from roi_agent.model.toy.train.region_model import RegionModelTrainee
from roi_agent.model.toy.train.segmenter import SegmenterTrainee
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.train.trainee import Trainee
from roi_agent.model.train import loop
from roi_agent.model.train.parameters import freeze_all_but
from roi_agent.model.train.run_checkpoints import check_same_run, newest_step, record_run, remove_old_checkpoints
from roi_agent.model.train.task import Metrics, Task
from roi_agent.model.utils.progress import waiting

# What a preset trains; all others are sizes of the region model.
TRAINEES: dict[str, Callable[[TrainSettings, Path], Trainee]] = {
    "nano-detector": DetectorTrainee,
    "nano-segmenter": SegmenterTrainee,
}


def train(settings: TrainSettings, folder: Path, *, only: str | None = None, show_progress: bool = True) -> Path:
    """Run all unfinished phases, or only the named one; returns the folder of the final model.

    The weights of finished phases are loaded before the next one begins. The same call resumes an interrupted run.
    Errors: InvalidSetting for an unknown phase, or one that began with other settings; those of the loop.
    """
    names = [phase.name for phase in settings.phases]
    if only is not None and only not in names:
        raise InvalidSetting(f"there is no phase {only!r}", do=f"choose one of {', '.join(names)}")
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=True)
    if accelerator.num_processes > 1:
        raise InvalidSetting("the toy world is trained in one process", do="start it without torchrun")
    set_seed(settings.seed)
    trainee = TRAINEES.get(settings.preset, RegionModelTrainee)(settings, folder)
    for phase in settings.phases:
        place = folder / "phases" / phase.name
        task = Phase(settings, phase, trainee)
        check_same_run(place, task.described)
        if only in (None, phase.name) or newest_step(place) >= phase.steps:
            record_run(place, task.described)
            loop.run(task, place, folder, accelerator, show_progress=show_progress)
            remove_old_checkpoints(place)
    target = folder / "model"
    with waiting("writing the model", show_progress), without_bars():
        trainee.save(target)
    return target


class Phase(Task):
    """One phase of a training."""

    kind = "scenes"

    def __init__(self, settings: TrainSettings, phase: PhaseSettings, trainee: Trainee) -> None:
        self.settings, self.trainee = phase, trainee
        self.phase, self.metrics, self.bar_metrics = phase.name, trainee.metrics, trainee.bar_metrics
        self.schedule, self.first = settings.schedule(phase), settings.first_scene(phase)
        self.described = {**asdict(phase), "preset": settings.preset, "seed": settings.seed, "first_scene": self.first}
        self.samples, self.collate = trainee.dataset(phase, self.first), trainee.collate
        self.module = trainee.model
        freeze_all_but(self.module, phase.trained)
        groups = parameter_groups(self.module, phase.rates)
        self.optimizer = torch.optim.AdamW(groups, lr=phase.learning_rate, weight_decay=phase.weight_decay, betas=(0.9, 0.98))

    def loss(self, batch: Any) -> tuple[Tensor, Metrics]:
        """The loss of the phase, a mean over the batch."""
        return self.trainee.loss(self.settings, batch)

    def ids(self, places: Sequence[int]) -> list[str]:
        """The scenes, by phase and seed."""
        return [f"{self.phase}/{TRAINING_SEEDS + self.first + place}" for place in places]


def parameter_groups(model: nn.Module, rates: dict[str, float]) -> list[dict[str, Any]]:
    """Trained parameters by their share of the learning rate: the first of `rates` that begins their name, or 1."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            share = next((share for prefix, share in rates.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(share, []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]
