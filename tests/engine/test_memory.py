"""Memory that runs out anywhere in the engine ends no question but the one that cannot fit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from roi_agent.model.engine import Engine, EngineSettings, Request, RequestHandle, Runner
from roi_agent.model.engine.kv_cache import BatchedKVCache
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import OutOfMemory
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.answers import Decoding
from tests.engine.asked import Gate, Watched, ids_of, request
from tests.engine.memory import Memory, under


@pytest.fixture(scope="module")
def mixed(requests: list[Request]) -> list[Request]:
    """Questions that end at different steps, one with rivals of its tokens, and one whose text is scored and not written."""
    scored = replace(requests[3], labels=[-100] * (len(requests[3].ids) - 2) + list(requests[3].ids[-2:]))
    return [*requests[:8], replace(requests[8], decoding=Decoding(top_logprobs=2)), scored]


def told(pending: Sequence[RequestHandle]) -> list[Any]:
    """Tokens and scores of every answer."""
    return [(ids_of(written := each.result()), round(written.score, 4)) for each in pending]


def engine_under(nano: LocalRegionModel, memory: Memory) -> Engine:
    """An engine that takes up questions in three batches, so that some join others."""
    engine = Engine(Runner(nano.model, nano.processor), EngineSettings(max_batch=4))
    under(memory, engine)
    return engine


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.sweep)])
def test_memory_that_runs_out_once_anywhere_ends_no_question(nano: LocalRegionModel, mixed: list[Request], every: int) -> None:
    watch = Memory()
    engine = engine_under(nano, watch)
    expected = told(engine.submit_all(mixed))
    places = watch.places
    assert {file for file, *_ in places} >= {"attention.py", "batch.py", "kv_cache.py", "runner.py", "sampler.py"} and len(
        places
    ) > 30
    for place, count in list(places.items())[::every]:
        chosen = (place, count // 2)  # while some are being answered and others come
        memory = Memory(lambda met, before, at=chosen: (met, before) == at)  # type: ignore[misc]
        engine = engine_under(nano, memory)
        assert told(engine.submit_all(mixed)) == expected, chosen
        assert memory.failed == [place] and memory.alive == [], chosen
        assert engine.counters().failed == 0


@pytest.mark.parametrize("name", ["take", "join"])
def test_rows_that_can_never_be_copied_end_no_question(
    nano: LocalRegionModel, mixed: list[Request], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    expected = told(Engine(Runner(nano.model, nano.processor)).submit_all(mixed))

    def full(*_: Any) -> BatchedKVCache:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(BatchedKVCache, name, full)
    engine = Engine(Runner(nano.model, nano.processor), EngineSettings(max_batch=4))
    assert told(engine.submit_all(mixed)) == expected
    assert engine.counters().failed == 0


@pytest.mark.parametrize("layer", range(10))
@torch.inference_mode()
def test_rows_whose_room_grew_in_some_layers_only_continue_in_halves(
    nano: LocalRegionModel, requests: list[Request], monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    runner = Runner(nano.model, nano.processor)
    kept = runner.encode(requests[0].image)
    asked = [requests[0], requests[12]]  # of unlike length: only the second needs more room
    whole, _ = runner.prefill(asked, [kept] * 2)
    expected = runner.step(whole, [40, 41])
    rows, _ = runner.prefill(asked, [kept] * 2)
    pad, calls = torch.nn.functional.pad, 0

    def full(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > layer:
            raise torch.OutOfMemoryError("out of memory")
        return pad(*given)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "pad", full)
        with pytest.raises(torch.OutOfMemoryError):
            runner.step(rows, [40, 41])
    halves = torch.cat([runner.step(rows.cut(n, n + 1), [40 + n]) for n in (0, 1)])
    torch.testing.assert_close(halves, expected, rtol=0, atol=1e-4)


def test_a_question_that_never_fits_ends_alone(
    nano: LocalRegionModel, scene: LoadedImage, regions: tuple[Region, ...], requests: list[Request], expected: list[list[int]]
) -> None:
    large = request(nano, scene, regions, "What is <region1>, " * 3 + "and what is <region2>?")
    own = len(large.ids) - len(nano.engine.runner.prefix_ids)

    class Small(Runner):
        """Has no room for a pass with a row of that length."""

        def prefill(self, requests: Sequence[Request], kept: Any) -> Any:
            if any(len(each.ids) == len(large.ids) for each in requests):
                raise torch.OutOfMemoryError("out of memory")
            return super().prefill(requests, kept)

    engine = Engine(Small(nano.model, nano.processor))
    assert own > 30
    pending = engine.submit_all([*requests[:3], large, *requests[3:]])
    assert [ids_of(each.result()) for each in (*pending[:3], *pending[4:])] == expected
    with pytest.raises(OutOfMemory, match="does not fit"):
        pending[3].result()
    done = engine.counters()
    assert (done.answered, done.failed) == (len(requests), 1)


@pytest.mark.parametrize("at", ["encode", "prefill"])
def test_a_question_that_fits_once_others_have_ended_waits_for_that(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]], at: str
) -> None:
    gate, running = Gate("step"), list[RequestHandle]()

    def crowded(what: str, rows: int) -> None:
        gate(what, rows)
        if what == at and running and not running[0].done:
            raise torch.OutOfMemoryError("out of memory")

    engine = Engine(Watched(nano, crowded))
    first = engine.submit(requests[0])
    assert gate.reached.wait(30)
    running.append(first)
    turned = load_image(requests[1].image.pixels.rotate(180))
    later = engine.submit_all([replace(requests[1], image=turned), requests[2]])
    gate.open.set()
    assert ids_of(first.result()) == expected[0] and ids_of(later[1].result()) == expected[2]
    assert later[0].result().text and engine.counters().failed == 0


def test_memory_that_was_short_is_used_again_though_the_engine_is_never_idle(
    nano: LocalRegionModel, scene: LoadedImage, regions: tuple[Region, ...], requests: list[Request], expected: list[list[int]]
) -> None:
    (end,) = nano.processor.end_ids()
    steps, short = list[int](), [True]

    class Endless(Runner):
        """Memory runs out once; the longest question never ends."""

        def step(self, rows: BatchedKVCache, tokens: Sequence[int]) -> torch.Tensor:
            if len(rows) == 8 and short:
                short.clear()
                raise torch.OutOfMemoryError("out of memory")
            steps.append(len(rows))
            logits = super().step(rows, tokens)
            logits[rows.lengths > 30, end] = -torch.inf
            return logits

    long = request(nano, scene, regions, "What is <region1>, " * 4 + "and <region2>?", max_new_tokens=1500)
    assert len(long.ids) - len(nano.engine.runner.prefix_ids) > 30
    engine = Engine(Endless(nano.model, nano.processor), EngineSettings(max_batch=8))
    endless, *first = engine.submit_all([long, *requests[:7]])
    assert [ids_of(each.result()) for each in first] == expected[:7] and short == []
    for _ in range(2):
        steps.clear()
        assert [ids_of(each.result()) for each in engine.submit_all(requests[:7])] == expected[:7]
    assert not endless.done and max(steps) >= 7
    endless.cancel()
