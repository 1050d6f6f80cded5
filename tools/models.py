"""The models that tools use: loaded lazily, each on its own device, and evicted when memory is short.

There are three roles: `detect` finds things by phrases, `segment` makes masks, `ask` answers questions.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from roi_agent.model.errors import InvalidSetting, ModelFailed, ModelNotFound, RoiAgentError
from roi_agent.model.utils.messages import cause, escaped

ROLES = ("detect", "segment", "ask")
REGION_MODEL = "the region model"  # its name in errors


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The source of a role's model.

    name: for display.  load: device -> model.  device: where it runs.  weight_bytes: size on disk, 0 if unknown.
    """

    name: str
    load: Callable[[str], Any]
    device: str = "cpu"
    weight_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """One line of the memory plan: a role, its model, its device, the size of its weights and where they are now.

    state: "not loaded", "on DEVICE", or "in main memory" for a model that was moved off a GPU.
    """

    role: str
    name: str
    device: str
    weight_bytes: int
    state: str


@dataclass(slots=True)
class _Loaded:
    model: Any
    device: str
    home: str
    weight_bytes: int
    users: int = 0
    last_used: int = 0


class Models:
    """The models of all roles. Thread-safe: while one thread loads or moves a model, other threads can use the others.

    budget_bytes: maximum size of the weights on one device. If a model does not fit, the least recently used one is moved from
        the GPU to main memory, or dropped from main memory and loaded again when needed. Models in use are never moved, and a
        model larger than the budget runs alone.
    """

    def __init__(self, sources: Mapping[str, ModelSource], *, budget_bytes: int | None = None) -> None:
        if unknown := [role for role in sources if role not in ROLES]:
            raise InvalidSetting(f"there is no role {escaped(unknown[0])}", do=f"use {', '.join(ROLES)}")
        if budget_bytes is not None and budget_bytes <= 0:
            raise InvalidSetting(f"the memory budget is {escaped(budget_bytes)}", do="give a number of bytes above zero")
        self._sources, self._budget = dict(sources), budget_bytes
        self._loaded: dict[str, _Loaded] = {}
        self._loading: dict[str, ModelSource] = {}  # models being loaded
        self._clock = 0
        self._lock = threading.Lock()  # guards the fields above; never held while a model is loaded or moved
        # Held while the role's model is loaded or moved. A holder only tries to acquire another one, so there is no deadlock.
        self._move_locks = {role: threading.Lock() for role in self._sources}

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have a model."""
        return tuple(self._sources)

    def check(self, role: str) -> None:
        """Check that a role has a model.  Error: ModelNotFound."""
        if role not in self._sources:
            known = ", ".join(self._sources) or "none"
            raise ModelNotFound(f"no model for the role {role}", do=f"give one; known are: {known}")

    @contextmanager
    def use(self, role: str) -> Iterator[Any]:
        """Return a context with the model of a role, which stays on its device inside the block.

        Errors: ModelNotFound, ModelFailed, and those of loading.
        """
        self.check(role)
        with self._move_locks[role]:
            entry = self._loaded.get(role) or self._load(role)
            if entry.device != entry.home:
                self._make_room(entry.home, entry.weight_bytes, keep=role)
                entry.model.to(entry.home)
                entry.device = entry.home
            with self._lock:
                self._clock += 1
                entry.last_used = self._clock
                entry.users += 1
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.users -= 1

    def plan(self) -> list[Placement]:
        """List every role's model and where it is."""
        with self._lock:
            lines = []
            for role, source in self._sources.items():
                entry = self._loaded.get(role)
                state = "not loaded"
                if entry:
                    state = f"on {entry.device}" if entry.device == entry.home else "in main memory"
                size = entry.weight_bytes if entry else source.weight_bytes
                lines.append(Placement(role, source.name, source.device, size, state))
            return lines

    def _load(self, role: str) -> _Loaded:
        source = self._sources[role]
        with self._lock:
            self._loading[role] = source
        try:
            self._make_room(source.device, 0, keep=role)
            with failures_of(f"loading {source.name}"):
                model = source.load(source.device)
            entry = _Loaded(model, source.device, source.device, weight_bytes(model) or source.weight_bytes)
        finally:
            with self._lock:
                del self._loading[role]
        with self._lock:
            self._loaded[role] = entry
        self._make_room(source.device, 0, keep=role)
        return entry

    def _make_room(self, device: str, needed: int, *, keep: str) -> None:
        """Evict the least recently used models until `needed` more bytes fit; models in use or being moved stay."""
        while self._budget is not None and (found := self._claim_evictable(device, needed, keep)):
            role, entry = found
            try:
                if device == "cpu" or not hasattr(entry.model, "to"):
                    with self._lock:
                        del self._loaded[role]
                    continue
                entry.model.to("cpu")
                entry.device = "cpu"
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            finally:
                self._move_locks[role].release()
            self._make_room("cpu", 0, keep=keep)

    def _claim_evictable(self, device: str, needed: int, keep: str) -> tuple[str, _Loaded] | None:
        """Pick the model to evict and acquire its lock; None if everything fits or nothing can be moved."""
        with self._lock:
            here = {role: each for role, each in self._loaded.items() if each.device == device}
            loading = sum(each.weight_bytes for each in self._loading.values() if each.device == device)
            assert self._budget is not None
            if sum(each.weight_bytes for each in here.values()) + loading + needed <= self._budget:
                return None
            for role in sorted(here, key=lambda role: here[role].last_used):
                if role != keep and not here[role].users and self._move_locks[role].acquire(blocking=False):
                    return role, here[role]
            return None


@contextmanager
def failures_of(what: str) -> Iterator[None]:
    """Convert any exception of a model, possibly the user's own, to a coded error with its cause.  Error: ModelFailed."""
    try:
        yield
    except RoiAgentError:
        raise
    except Exception as error:
        raise ModelFailed(f"{what} failed: {cause(error)}", do="check that it works on its own, or use another one") from error


def weight_bytes(model: Any) -> int:
    """Return the size of a model's parameters and buffers in bytes; 0 for a model without any, such as a function."""
    module = getattr(model, "model", model)
    if not isinstance(module, torch.nn.Module):
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def parse_devices(text: str | None, default: str) -> dict[str, str]:
    """Parse the device of every role from "cuda:0" or "detect=cpu,ask=cuda:0"; other roles get the default.

    Error: InvalidSetting.
    """
    return _by_role(text, default, what="device", do="write cuda:0, or detect=cpu,ask=cuda:0")


def parse_dtypes(text: str | None) -> dict[str, str]:
    """Parse the weight type of every role from "bfloat16" or "detect=float32,ask=bfloat16"; other roles get "".

    Error: InvalidSetting.
    """
    return _by_role(text, "", what="type", do="write bfloat16, or detect=float32,ask=bfloat16")


def _by_role(text: str | None, default: str, *, what: str, do: str) -> dict[str, str]:
    values = dict.fromkeys(ROLES, default)
    # The value for all roles comes first, regardless of its position.
    for part in sorted((text or "").split(","), key=lambda part: "=" in part):
        role, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and role:
            values = dict.fromkeys(ROLES, role)
        elif equals:
            if role not in ROLES or not value:
                raise InvalidSetting(f"the {what} {escaped(part)} is unclear", do=do)
            values[role] = value
    return values
