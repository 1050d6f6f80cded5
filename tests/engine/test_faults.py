"""Faults of the engine hurt no other question."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from roi_agent.model.engine import Engine, Request, Runner
from roi_agent.model.engine.cache import CachedImage
from roi_agent.model.engine.kv_cache import BatchedKVCache
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import (
    EngineFailed,
    ModelOutputInvalid,
    OutOfMemory,
)
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from tests.engine.asked import Watched, ids_of, request


@pytest.mark.parametrize("at", ["prefill", "step"])
def test_memory_that_runs_out_halves_the_batch(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]], at: str
) -> None:
    sizes: list[int] = []

    def short_of_memory(what: str, rows: int) -> None:
        if what == at:
            sizes.append(rows)
            if rows > 4:
                raise torch.OutOfMemoryError("out of memory")

    engine = Engine(Watched(nano, short_of_memory))
    assert [ids_of(each.result()) for each in engine.submit_all(requests)] == expected
    assert sizes[:3] == [16, 8, 4] and engine.counters().failed == 0
    assert ids_of(engine.submit(requests[0]).result()) == expected[0]


def test_a_question_too_large_for_memory_says_so(nano: LocalRegionModel, requests: list[Request]) -> None:
    def full(what: str, rows: int) -> None:
        if what == "prefill":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(OutOfMemory, match="does not fit"):
        Engine(Watched(nano, full)).submit(requests[0]).result()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_step_that_breaks_once_is_done_again(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]], number: int
) -> None:
    steps = 0

    def once(what: str, rows: int) -> None:
        nonlocal steps
        steps += what == "step"
        if steps == number:
            steps += 1
            raise RuntimeError("a fault")

    engine = Engine(Watched(nano, once))
    assert [ids_of(each.result()) for each in engine.submit_all(requests)] == expected
    assert engine.counters().failed == 0


class Poisoned(Runner):
    """Breaks wherever one question is among the rows."""

    def __init__(self, nano: LocalRegionModel, poison: Request, at: str) -> None:
        super().__init__(nano.model, nano.processor)
        self._poison, self._at, self._length = poison, at, len(poison.ids) - len(self.prefix_ids)

    def prefill(self, requests: Sequence[Request], kept: Sequence[CachedImage]) -> tuple[BatchedKVCache, list[Tensor]]:
        if self._at == "prefill" and self._poison in requests:
            raise ValueError("a shape that no kernel takes")
        return super().prefill(requests, kept)

    def step(self, rows: BatchedKVCache, tokens: Sequence[int]) -> Tensor:
        logits = super().step(rows, tokens)
        if self._at == "step" and self._length in rows.lengths.tolist():
            raise ValueError("a shape that no kernel takes")
        if self._at == "NaN":
            logits[rows.lengths == self._length] = torch.nan
        return logits


@pytest.mark.parametrize(("at", "error"), [("prefill", EngineFailed), ("step", EngineFailed), ("NaN", ModelOutputInvalid)])
def test_a_question_that_breaks_the_model_hurts_no_other(
    nano: LocalRegionModel,
    scene: LoadedImage,
    regions: tuple[Region, ...],
    requests: list[Request],
    expected: list[list[int]],
    at: str,
    error: type[Exception],
) -> None:
    poison = request(nano, scene, regions, "What is <region1>, and what are <region2>, <region3>, <region4> and <region1> to it?")
    assert len(poison.ids) > max(len(each.ids) + len(ids) for each, ids in zip(requests, expected, strict=True))
    engine = Engine(Poisoned(nano, poison, at))
    pending = engine.submit_all([*requests[:5], poison, *requests[5:]])
    with pytest.raises(error):
        pending[5].result()
    assert [ids_of(each.result()) for each in (*pending[:5], *pending[6:])] == expected
    assert engine.counters().failed == 1


def test_an_image_that_cannot_be_encoded_fails_its_question_only(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]]
) -> None:
    seen = 0

    def first(what: str, rows: int) -> None:
        nonlocal seen
        seen += what == "encode"
        if what == "encode" and seen == 1:
            raise RuntimeError("a fault")

    engine = Engine(Watched(nano, first))
    broken, sound = engine.submit_all(requests[:2])
    with pytest.raises(EngineFailed, match="RuntimeError: 'a fault'"):
        broken.result()
    assert ids_of(sound.result()) == expected[1]


def test_a_fault_of_the_engine_itself_leaves_nobody_waiting(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(Runner(nano.model, nano.processor))
    with monkeypatch.context() as patch:
        patch.setattr(engine._batch, "step", lambda: 1 / 0)
        for each in engine.submit_all(requests[:3]):
            with pytest.raises(EngineFailed, match="ZeroDivisionError"):
                each.result()
    assert ids_of(engine.submit(requests[0]).result()) == expected[0]
