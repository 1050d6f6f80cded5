"""Checkpoints of a run: its settings, trainable weights, the optimiser and the training state.

A checkpoint is a folder `checkpoints/step-N` written by torch.distributed.checkpoint, sharded over the processes and readable by
any number of them. It is written to a temporary folder and renamed; the last one has no optimiser. The noise of a step depends on
seed and step alone, so no generator state is saved. On a CPU, a resumed run is bit-identical to an uninterrupted one. On CUDA it
may differ: some sums, as in the gradient of RoIAlign, depend on the order of threads.
"""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors
from torch.optim import Optimizer

from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, TrainingFailed
from roi_agent.model.utils.atomic_files import write_atomically

KEPT = 2  # the two newest checkpoints
_RUN, _STATE = "run.json", "standing.json"
_OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Progress of a run: steps, seconds, and the latest losses, used to detect a spike."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def check_same_run(folder: Path, described: dict[str, Any]) -> None:
    """Refuse to resume a run with other settings.  Error: InvalidSetting."""
    file = folder / _RUN
    if not checkpoints(folder) or not file.is_file():
        return
    before, now = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(described))
    other = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if other:
        problem = f"the run in {folder.name!r} began with other settings: {', '.join(other)}"
        raise InvalidSetting(problem, do="give the original settings, or another folder")


def record_run(folder: Path, described: dict[str, Any]) -> None:
    """Record the settings of a run in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _RUN, lambda aside: aside.write_text(json.dumps(described, indent=2) + "\n"))


def checkpoints(folder: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    found = [each for each in (folder / "checkpoints").glob("step-*") if (each / _STATE).is_file() and not each.suffix]
    return sorted(found, key=lambda each: int(each.name.removeprefix("step-")))


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    return max((int(each.name.removeprefix("step-")) for each in checkpoints(folder)), default=0)


def remove_old_checkpoints(folder: Path) -> None:
    """Remove incomplete and old checkpoints, so that there are never three on disk."""
    for aside in (folder / "checkpoints").glob("*.part"):
        shutil.rmtree(aside)
    for old in checkpoints(folder)[: 1 - KEPT]:
        shutil.rmtree(old)


def save(folder: Path, module: nn.Module, optimizer: Optimizer | None, state: TrainingState, *, accelerator: Any) -> None:
    """Write a checkpoint in all processes together.  Error: TrainingFailed if it cannot be written."""
    try:
        _save(folder, module, optimizer, state, accelerator)
    except (OSError, CheckpointException) as error:
        reasons = [error, *map(_cause, getattr(error, "failures", {}).values())]
        if any(isinstance(each, KeyboardInterrupt) for each in reasons):  # Ctrl-C, not a disk error
            raise KeyboardInterrupt from None
        why = next((each.strerror for each in reasons if isinstance(each, OSError) and each.strerror), type(error).__name__)
        raise TrainingFailed(
            f"the checkpoint of step {state.step} cannot be written: {why}",
            do="free disk space; the same command resumes from the last checkpoint",
        ) from None


def _save(folder: Path, module: nn.Module, optimizer: Optimizer | None, state: TrainingState, accelerator: Any) -> None:
    target = folder / "checkpoints" / f"step-{state.step:08d}"
    aside = target.with_name(target.name + ".part")
    if accelerator.is_main_process:
        remove_old_checkpoints(folder)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    with _quiet():
        save_tensors(_tensors(module, optimizer), checkpoint_id=aside, no_dist=accelerator.num_processes == 1)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (aside / _STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        os.replace(aside, target)
    accelerator.wait_for_everyone()


def _cause(failure: Any) -> BaseException | None:
    """The error in torch's failure record of a process: the error itself, or a tuple of it and its traceback."""
    error = failure[0] if isinstance(failure, tuple) else failure
    return error if isinstance(error, BaseException) else None


def load(folder: Path, module: nn.Module, optimizer: Optimizer | None = None, *, alone: bool = True) -> TrainingState:
    """Load the newest checkpoint, if there is one.  alone: no other process reads it at the same time.

    Error: CheckpointMismatch for a damaged checkpoint, or one of other settings.
    """
    found = checkpoints(folder)
    if not found:
        return TrainingState()
    tensors = _tensors(module, optimizer)
    try:
        with _quiet():
            load_tensors(tensors, checkpoint_id=found[-1], no_dist=alone)
        state = TrainingState(**json.loads((found[-1] / _STATE).read_text(encoding="utf-8")))
    except (CheckpointException, RuntimeError, OSError, ValueError, TypeError, KeyError):
        raise CheckpointMismatch(
            f"the checkpoint {found[-1].name} is damaged or of other settings",
            do="train into another folder, or remove this checkpoint to resume from the previous one",
        ) from None
    set_model_state_dict(module, tensors["model"], options=_OPTIONS)
    if optimizer is not None:
        set_optimizer_state_dict(module, optimizer, tensors["optimizer"], options=_OPTIONS)
    return state


def _tensors(module: nn.Module, optimizer: Optimizer | None) -> dict[str, Any]:
    tensors: dict[str, Any] = {"model": get_model_state_dict(module, options=_OPTIONS)}
    for name in _frozen(module):
        tensors["model"].pop(name, None)
    if optimizer is not None:
        tensors["optimizer"] = get_optimizer_state_dict(module, optimizer, options=_OPTIONS)
    return tensors


def _frozen(module: nn.Module) -> Iterator[str]:
    """Names that torch would save for frozen modules: tied weights under a second name, and buffers."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        own = dict(part.named_parameters(recurse=False))
        still = not any(each.requires_grad for each in own.values())
        names = [name for name, each in own.items() if not each.requires_grad]
        names += [name for name, _ in part.named_buffers(recurse=False) if still]
        yield from (f"{prefix}.{name}" if prefix else name for name in names)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's warning about a single process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield
