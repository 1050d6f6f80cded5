"""Training in several processes: their launch, and sharding with FSDP2."""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from roi_agent.model.errors import InvalidSetting, RoiAgentError, TrainingFailed, all_errors
from roi_agent.model.utils.child_processes import children_ignoring_interrupts, end_with_parent

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # signals on which the launcher ends all processes, besides Ctrl-C


def launch(work: Callable[..., None], *arguments: Any, processes: int) -> None:
    """Run `work(*arguments)` in several processes on this machine, as torchrun does, and wait for them.

    work: a function of a module.  If one process fails, the others are ended.
    Errors: the coded error of the first process to fail, TrainingFailed for any other end; InvalidSetting.
    """
    cards = torch.cuda.device_count()
    if cards and processes > cards:
        raise InvalidSetting(f"{processes} processes on {cards} GPUs", do="give at most one process for each GPU")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"roi-agent-{os.getpid()}",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="spawn",
        signals_to_handle=",".join(each.name for each in _ENDING),
    )
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):  # the second sets its own level
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the error below reports a failure once
    handlers = {each: signal.getsignal(each) for each in _ENDING}
    try:
        with children_ignoring_interrupts():
            elastic_launch(config, _work)(work, arguments)
    except ChildFailedError as error:
        raise _coded_error(error) from None
    except SignalException as stopped:
        _restore(handlers)
        signal.raise_signal(stopped.sigval)  # the children have ended; end this process in the default way
        raise
    finally:
        _restore(handlers)


def is_main_process() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only process."""
    return os.environ.get("RANK", "0") == "0"


def shard(module: nn.Module, layers: Sequence[nn.Module], *, bf16: bool) -> None:
    """Shard weights, gradients and optimiser states over all processes: first each layer, then the rest.

    `fully_shard` is FSDP2 itself. Accelerate 1.15 wraps it in FullyShardedDataParallelPlugin, but silently ignores that on CPUs,
    where tests run; this is the same on CPUs and GPUs.
    """
    # Inputs are not cast: boxes must not be rounded to bfloat16. Gradients are summed in float32.
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(module, mp_policy=policy)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Restore signal handlers, which torch's launcher replaces permanently."""
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@record
def _work(work: Callable[..., None], arguments: Sequence[Any]) -> None:
    end_with_parent()
    work(*arguments)


def _coded_error(error: ChildFailedError) -> RoiAgentError:
    """The coded error in the report of a failed process."""
    _, failure = error.get_first_failure()
    data = failure.error_file_data
    message = data["message"]["message"] if isinstance(data, dict) and isinstance(data.get("message"), dict) else failure.message
    _, _, text = str(message).partition(": ")
    code, _, problem = text.partition(": ")
    kind = all_errors().get(code)
    if kind is None:
        how = f"signal {-failure.exitcode}" if failure.exitcode < 0 else str(message)
        return TrainingFailed(f"a training process ended: {how}", do="the same command resumes from the last checkpoint")
    problem, _, do = problem.partition("; ")
    return kind(problem, do=do)
