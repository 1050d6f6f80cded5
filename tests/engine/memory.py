"""Memory that runs out in the engine's thread, at whichever operation is named, and what is left of the one that failed."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from roi_agent.model.engine import Engine

Place = tuple[str, str, int]  # the engine's file, function and line from which something is allocated


class Memory(TorchDispatchMode):
    """Sees every allocation, and lets those fail that are chosen.

    fails: the place of an allocation, and how often it was met before -> whether memory runs out there.
    places: met so far, each with the number of times.  alive: failures after which the failed tensor was still there when the
    next one was asked for.
    """

    def __init__(self, fails: Callable[[Place, int], bool] = lambda place, before: False) -> None:
        super().__init__()
        self._fails = fails
        self.places: dict[Place, int] = {}
        self.failed: list[Place] = []
        self.alive: list[Place] = []
        self._last: ref[Tensor] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [each for each in (made if isinstance(made, tuple) else [made]) if isinstance(each, Tensor)]
        if any(each.alias_info is not None for each in func._schema.returns) or not tensors:
            return made  # a view, or a change in place
        if self._last is not None:
            self.alive += [self.failed[-1]] if self._last() is not None else []
            self._last = None
        place = _place(sys._getframe())
        before = self.places.get(place, 0)
        self.places[place] = before + 1
        if self._fails(place, before):
            self.failed.append(place)
            self._last = ref(tensors[0])
            raise torch.OutOfMemoryError("out of memory")
        return made


def under(memory: Memory, engine: Engine) -> None:
    """Let an engine's thread feel it, until that thread ends."""
    engine.run_exclusively(memory.__enter__)


def _place(frame: FrameType | None) -> Place:
    """The innermost line of the engine's own code."""
    while frame is not None and "/model/engine/" not in frame.f_code.co_filename:
        frame = frame.f_back
    assert frame is not None, "an allocation outside of the engine's thread"
    return frame.f_code.co_filename.rpartition("/")[2], frame.f_code.co_name, frame.f_lineno
