"""Training on records, in one process or in several that share the work."""

import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator

from roi_agent.model.train import loop
from roi_agent.model.train.export import export
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.processes import launch
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.record_task import RecordTask
from roi_agent.model.utils.progress import waiting


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
    with waiting("loading the model", show_progress) if accelerator.is_main_process else nullcontext():
        task = RecordTask(job, accelerator)
    loop.run(task, job.folder, job.folder, accelerator, show_progress=show_progress)
