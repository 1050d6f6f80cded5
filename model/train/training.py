"""Training on records, in one process or in several that share the work."""

import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import get_int_from_env

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.train import loop
from roi_agent.model.train.export import MODEL, export
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.processes import is_main_process, launch
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.record_task import RecordTask
from roi_agent.model.utils.progress import waiting


def train_on_records(job: RecordJob, *, processes: int = 1, show_progress: bool = True) -> Path:
    """Train and write the resulting model; the same call resumes an interrupted run.

    processes: started on this machine.  Those that torchrun started train together, and the first one writes the model.
    Returns the folder of the model.
    Errors: before the first step those of `check_ready`; later TrainingDiverged, TrainingFailed, and those of images and records.
    """
    world_size, show_progress = get_int_from_env(["WORLD_SIZE"], 1), show_progress and is_main_process()
    if world_size > 1 and processes > 1:
        raise InvalidSetting(f"torchrun started {world_size} processes", do="leave out --processes")
    with waiting("checking the records and the model", show_progress):
        check_ready(job, max(processes, world_size))
    if processes > 1:
        launch(run, job, show_progress, processes=processes)
    else:
        run(job, show_progress)
    if not is_main_process():
        return job.folder / MODEL
    with waiting("writing the model", show_progress):
        return export(job)


def run(job: RecordJob, show_progress: bool) -> None:
    """Take the remaining steps in this process, as one of those that share the work."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OMP_NUM_THREADS")  # that one thread is taken for each process
        accelerator = Accelerator(cpu=not torch.cuda.is_available())
    try:
        with waiting("loading the model", show_progress) if accelerator.is_main_process else nullcontext():
            task = RecordTask(job, accelerator)
        loop.run(task, job.folder, job.folder, accelerator, show_progress=show_progress)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
