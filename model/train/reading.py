"""Reading of samples: the sampler of each training process, and its data loader."""

import signal
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Sampler

from roi_agent.model.train.task import Task
from roi_agent.model.utils.child_processes import end_with_parent


class ProcessSampler(Sampler[list[int]]):
    """The micro-batches of one process, starting at a step.

    Each batch is split into contiguous equal shares, one per process, and each share into micro-batches.
    """

    def __init__(self, *, steps: range, batch: int, micro_batch: int, processes: int, process: int) -> None:
        self.steps, self.batch, self.micro_batch = steps, batch, micro_batch
        self.share = batch // processes
        self.first = process * self.share

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            start = step * self.batch + self.first
            for micro in range(start, start + self.share, self.micro_batch):
                yield list(range(micro, micro + self.micro_batch))

    def __len__(self) -> int:
        return len(self.steps) * self.share // self.micro_batch


def batches(task: Task, steps: range, accelerator: Accelerator) -> "DataLoader[Any]":
    """Load the micro-batches of this process for steps of a task."""
    schedule = task.schedule
    share = ProcessSampler(
        steps=steps,
        batch=schedule.batch,
        micro_batch=schedule.micro_batch,
        processes=accelerator.num_processes,
        process=accelerator.process_index,
    )
    return DataLoader(
        task.samples,
        batch_sampler=share,
        collate_fn=task.collate,
        num_workers=schedule.workers,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if schedule.workers else None,
    )


def _start_worker(_: int) -> None:
    """Initialise a reading process: one thread, and Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
