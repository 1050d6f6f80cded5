"""The models of the tools: loaded late, once, on their own devices, and moved out when memory is short."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from roi_agent.model.errors import InvalidSetting, ModelNotFound
from roi_agent.tools.models import Models, ModelSource, parse_devices, weight_bytes


class Holder:
    """A model of so many bytes that can be moved, on a device that this machine need not have."""

    def __init__(self, size: int, device: str) -> None:
        self.model = torch.nn.Linear(size // 4, 1, bias=False)
        self.device = device

    def to(self, device: str) -> None:
        self.device = device


class Shelf:
    """Sources that count how often each role is loaded."""

    def __init__(self, device: str = "cpu", size: int = 400, budget: int | None = None) -> None:
        self.loads: list[str] = []
        sources = {
            role: ModelSource(f"{role}-model", self.loader(role, size), device, size) for role in ("detect", "segment", "ask")
        }
        self.models = Models(sources, budget_bytes=budget)

    def loader(self, role: str, size: int) -> Any:
        def load(device: str) -> Holder:
            self.loads.append(role)
            return Holder(size, device)

        return load

    def states(self) -> list[str]:
        return [line.state for line in self.models.plan()]


def test_models_are_loaded_when_first_used_and_once() -> None:
    shelf = Shelf()
    assert shelf.states() == ["not loaded"] * 3
    for _ in range(2):
        with shelf.models.use("ask") as model:
            assert isinstance(model, Holder) and model.device == "cpu"
    assert shelf.loads == ["ask"] and shelf.states() == ["not loaded", "not loaded", "on cpu"]
    assert [line.weight_bytes for line in shelf.models.plan()] == [400] * 3


def test_on_the_cpu_the_one_used_longest_ago_is_dropped_and_loaded_again() -> None:
    shelf = Shelf(budget=800)
    for role in ("detect", "segment", "detect", "ask"):
        with shelf.models.use(role):
            pass
    assert shelf.states() == ["on cpu", "not loaded", "on cpu"]
    with shelf.models.use("segment"):
        pass
    assert shelf.loads == ["detect", "segment", "ask", "segment"]


def test_out_of_a_gpu_a_model_moves_into_main_memory_and_back() -> None:
    shelf = Shelf(device="cuda:0", budget=800)
    with shelf.models.use("detect") as detector:
        pass
    for role in ("segment", "ask"):
        with shelf.models.use(role):
            pass
    assert detector.device == "cpu" and shelf.states() == ["in main memory", "on cuda:0", "on cuda:0"]
    with shelf.models.use("detect") as again:
        assert again is detector and detector.device == "cuda:0"
    assert shelf.states() == ["on cuda:0", "in main memory", "on cuda:0"]
    assert shelf.loads == ["detect", "segment", "ask"]


def test_a_model_in_use_stays_where_it_is() -> None:
    shelf = Shelf(budget=400)
    with shelf.models.use("detect") as detector, shelf.models.use("ask"):
        assert detector.device == "cpu" and shelf.states() == ["on cpu", "not loaded", "on cpu"]


def test_a_model_larger_than_the_budget_runs_alone() -> None:
    shelf = Shelf(budget=100)
    for role in ("detect", "ask"):
        with shelf.models.use(role):
            pass
    assert shelf.states() == ["not loaded", "not loaded", "on cpu"]


def test_many_threads_load_a_model_once() -> None:
    shelf = Shelf()

    def work() -> None:
        for role in ("detect", "ask") * 10:
            with shelf.models.use(role):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(shelf.loads) == ["ask", "detect"]


def test_a_model_that_is_loaded_is_there_while_another_one_loads() -> None:
    begun, may_end, loads = threading.Event(), threading.Event(), list[str]()

    def slow(device: str) -> Holder:
        loads.append("ask")
        begun.set()
        assert may_end.wait(30)
        return Holder(400, device)

    models = Models({"detect": ModelSource("quick", lambda device: Holder(400, device)), "ask": ModelSource("slow", slow)})
    with ThreadPoolExecutor(3) as pool:

        def used(role: str) -> Any:
            with models.use(role) as model:
                return model

        used("detect")
        asking = [pool.submit(used, "ask") for _ in range(2)]
        assert begun.wait(30)
        finding = pool.submit(used, "detect")
        planned = pool.submit(models.plan)
        try:
            assert finding.result(30).device == "cpu"
            assert [line.state for line in planned.result(30)] == ["on cpu", "not loaded"]
        finally:
            may_end.set()
        assert asking[0].result(30) is asking[1].result(30) and loads == ["ask"]


def test_a_load_that_fails_is_tried_again() -> None:
    tries = iter([ModelNotFound("gone", do="look"), None])

    def load(device: str) -> Holder:
        if error := next(tries):
            raise error
        return Holder(400, device)

    models = Models({"ask": ModelSource("own", load, "cpu", 400)}, budget_bytes=400)
    with pytest.raises(ModelNotFound, match="gone"), models.use("ask"):
        pass
    with models.use("ask") as model:
        assert model.device == "cpu"


def test_models_that_load_together_keep_the_budget_when_they_are_done() -> None:
    both = threading.Barrier(2, timeout=30)

    def load(device: str) -> Holder:
        both.wait()
        return Holder(400, device)

    sources = {role: ModelSource(role, load, "cpu", 400) for role in ("detect", "ask")}
    models = Models(sources, budget_bytes=500)

    def used(role: str) -> None:
        with models.use(role):
            pass

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(used, role) for role in ("detect", "ask")]:
            done.result(30)
    assert sorted(line.state for line in models.plan()) == ["not loaded", "on cpu"]


def test_a_role_without_a_model_is_named() -> None:
    models = Models({"ask": ModelSource("own", lambda device: len)})
    with (
        pytest.raises(ModelNotFound, match="no model for the role detect; give one; known are: ask"),
        models.use("detect"),
    ):
        pass
    with models.use("ask") as function:
        assert function is len
    assert weight_bytes(len) == 0
    with pytest.raises(InvalidSetting, match="there is no role 'draw'"):
        Models({"draw": ModelSource("own", lambda device: len)})
    with pytest.raises(InvalidSetting, match="budget"):
        Models({}, budget_bytes=0)


@pytest.mark.parametrize(
    "text,devices",
    [
        (None, ["auto", "auto", "auto"]),
        ("cuda:1", ["cuda:1", "cuda:1", "cuda:1"]),
        ("ask=cuda:0", ["auto", "auto", "cuda:0"]),
        ("detect=cpu, ask=cuda:0", ["cpu", "auto", "cuda:0"]),
        ("cpu,ask=cuda:0", ["cpu", "cpu", "cuda:0"]),
    ],
)
def test_devices_are_given_for_all_or_by_role(text: str | None, devices: list[str]) -> None:
    assert list(parse_devices(text, "auto").values()) == devices


@pytest.mark.parametrize("text", ["draw=cpu", "ask=", "=cpu"])
def test_unclear_devices_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="is unclear"):
        parse_devices(text, "cpu")
