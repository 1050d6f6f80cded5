"""Processes that read the data for a training."""

import signal

import torch

from roi_agent.model.utils.child_processes import end_with_parent


def begin_reading(_: int) -> None:
    """In such a process, at its beginning: it has one thread, and leaves Ctrl-C to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
