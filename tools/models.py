"""The models that tools use: loaded when first needed, each on its own device, moved out when memory is short.

Three roles: `detect` finds things by words, `segment` gives masks, `ask` answers questions.
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
REGION_MODEL = "the region model"  # as errors call it


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a role's model comes from.

    name: for people.  load: device -> the model.  device: where it runs.  weight_bytes: on disk, or 0 where unknown.
    """

    name: str
    load: Callable[[str], Any]
    device: str = "cpu"
    weight_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """One line of the memory plan: a role, its model, where it runs, its weights' size, and where they are now.

    state: "not loaded", "on DEVICE", or "in main memory" for one that was moved out of a GPU.
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
    """The models of the roles. Safe under threads: a model is loaded or moved by one of them, and others are there meanwhile.

    budget_bytes: weights that one device may hold at once. Where another model needs the room, the one used longest ago makes
        it: out of a GPU into main memory, out of main memory altogether, to be loaded again when it is needed. A model in use
        stays, and one that is larger than the budget runs alone.
    """

    def __init__(self, sources: Mapping[str, ModelSource], *, budget_bytes: int | None = None) -> None:
        if unknown := [role for role in sources if role not in ROLES]:
            raise InvalidSetting(f"there is no role {escaped(unknown[0])}", do=f"use {', '.join(ROLES)}")
        if budget_bytes is not None and budget_bytes <= 0:
            raise InvalidSetting(f"the memory budget is {escaped(budget_bytes)}", do="give a number of bytes above zero")
        self._sources, self._budget = dict(sources), budget_bytes
        self._loaded: dict[str, _Loaded] = {}
        self._loading: dict[str, ModelSource] = {}  # what is being loaded
        self._clock = 0
        self._lock = threading.Lock()  # of what stands above; never held while a model is loaded or moved
        # Held while the role's model is loaded or moved. Who holds one only tries to get another's: none waits for ever.
        self._move_locks = {role: threading.Lock() for role in self._sources}

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have a model."""
        return tuple(self._sources)

    def check(self, role: str) -> None:
        """Error: ModelNotFound for a role without a model."""
        if role not in self._sources:
            known = ", ".join(self._sources) or "none"
            raise ModelNotFound(f"no model for the role {role}", do=f"give one; known are: {known}")

    @contextmanager
    def use(self, role: str) -> Iterator[Any]:
        """The model of a role, on its device until the block ends.

        Errors: ModelNotFound for a role without one, those of loading it, and ModelFailed.
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
        """Every role's model and where it is."""
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
        """Move out what was used longest ago until `needed` bytes more fit on the device; what is in use or being moved stays."""
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
        """The model to move out, which is then held; None where all fits, or nothing can be moved."""
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
    """Turn what a model, perhaps the user's own, breaks with into a coded error that keeps the cause.  Error: ModelFailed."""
    try:
        yield
    except RoiAgentError:
        raise
    except Exception as error:
        raise ModelFailed(f"{what} failed: {cause(error)}", do="see that it works by itself, or use another one") from error


def weight_bytes(model: Any) -> int:
    """Bytes of a model's parameters and buffers; 0 for what has none, such as a user's function."""
    module = getattr(model, "model", model)
    if not isinstance(module, torch.nn.Module):
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def parse_devices(text: str | None, default: str) -> dict[str, str]:
    """The device of every role from "cuda:0", or "detect=cpu,ask=cuda:0"; `default` for those that are not named.

    Error: InvalidSetting.
    """
    return _by_role(text, default, what="device", do="write cuda:0, or detect=cpu,ask=cuda:0")


def parse_dtypes(text: str | None) -> dict[str, str]:
    """The type of every role's weights from "bfloat16", or "detect=float32,ask=bfloat16"; "" for those that are not named.

    Error: InvalidSetting.
    """
    return _by_role(text, "", what="type", do="write bfloat16, or detect=float32,ask=bfloat16")


def _by_role(text: str | None, default: str, *, what: str, do: str) -> dict[str, str]:
    values = dict.fromkeys(ROLES, default)
    # One for all of them first, wherever it stands.
    for part in sorted((text or "").split(","), key=lambda part: "=" in part):
        role, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and role:
            values = dict.fromkeys(ROLES, role)
        elif equals:
            if role not in ROLES or not value:
                raise InvalidSetting(f"the {what} {escaped(part)} is unclear", do=do)
            values[role] = value
    return values
