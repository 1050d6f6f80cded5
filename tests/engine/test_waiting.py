"""Questions of the engine that come, join, wait, are late or taken back."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from roi_agent.model.engine import Engine, EngineSettings, Request, Runner
from roi_agent.model.engine import engine as engine_module
from roi_agent.model.engine.cache import CachedImage
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import (
    Cancelled,
    DeadlineExceeded,
    QueueFull,
)
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from tests.engine.asked import SCENE, SIXTEEN, UMBRELLA, Gate, Watched, ids_of, request


@pytest.fixture
def gated(nano: LocalRegionModel, request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Gate]]:
    gate = Gate(request.param)
    yield Engine(Watched(nano, gate), EngineSettings(max_batch=2, max_waiting=2)), gate
    gate.open.set()


PHASES = pytest.mark.parametrize("gated", ["encode", "prefill", "step"], indirect=True)


@PHASES
def test_a_question_is_cancelled_in_any_phase(
    gated: tuple[Engine, Gate], requests: list[Request], expected: list[list[int]]
) -> None:
    engine, gate = gated
    first, second = engine.submit_all(requests[:2])
    assert gate.reached.wait(30)
    waiting = engine.submit(requests[2])
    for each in (first, waiting):
        each.cancel()
    gate.open.set()
    with pytest.raises(Cancelled, match="cancelled while being"):
        first.result()
    with pytest.raises(Cancelled, match="cancelled while waiting"):
        waiting.result()
    assert ids_of(second.result()) == expected[1]
    done = engine.counters()
    assert (done.answered, done.cancelled, done.failed, done.running, done.waiting) == (1, 2, 0, 0, 0)


@PHASES
def test_a_question_that_is_worked_on_is_counted_in_any_phase(gated: tuple[Engine, Gate], requests: list[Request]) -> None:
    engine, gate = gated
    both = engine.submit_all(requests[:2])
    assert gate.reached.wait(30)
    now = engine.counters()
    assert now.running >= 1 and now.running + now.waiting == 2
    gate.open.set()
    for each in both:
        each.result()
    assert engine.counters().answered == 2 and engine.counters().running == engine.counters().waiting == 0


@PHASES
def test_a_deadline_holds_in_any_phase(
    nano: LocalRegionModel,
    gated: tuple[Engine, Gate],
    regions: tuple[Region, ...],
    requests: list[Request],
    expected: list[list[int]],
) -> None:
    engine, gate = gated
    image = requests[0].image
    late, second = engine.submit_all([request(nano, image, regions, SIXTEEN[0], timeout_s=0.05), requests[1]])
    assert gate.reached.wait(30)
    waiting = engine.submit(request(nano, image, regions, SIXTEEN[0], timeout_s=0.01))
    while waiting.seconds() < 0.06:
        threading.Event().wait(0.01)
    gate.open.set()
    for each in (late, waiting):
        with pytest.raises(DeadlineExceeded, match="give it more time"):
            each.result()
    assert ids_of(second.result()) == expected[1]
    done = engine.counters()
    assert (done.answered, done.deadline_exceeded, done.cancelled, done.failed) == (1, 2, 0, 0)


@pytest.mark.parametrize("gated", ["step"], indirect=True)
def test_a_question_joins_and_leaves_between_steps(
    nano: LocalRegionModel,
    gated: tuple[Engine, Gate],
    regions: tuple[Region, ...],
    requests: list[Request],
    expected: list[list[int]],
) -> None:
    engine, gate = gated
    long = engine.submit(requests[0])  # four tokens and the end
    assert gate.reached.wait(30)
    short = engine.submit(requests[4])  # one token and the end
    gate.open.set()
    assert ids_of(short.result()) == expected[4] and ids_of(long.result()) == expected[0]
    assert engine.counters().steps == 4  # as many as the long one needs alone: the short one went along


@pytest.mark.parametrize("gated", ["step"], indirect=True)
def test_a_full_queue_refuses_and_keeps_what_it_has(
    gated: tuple[Engine, Gate], requests: list[Request], expected: list[list[int]]
) -> None:
    engine, gate = gated
    running = engine.submit(requests[0])
    assert gate.reached.wait(30)
    waiting = engine.submit_all(requests[1:3])
    with pytest.raises(QueueFull, match="the queue holds 2 questions and 1 more arrived; its limit is 2"):
        engine.submit(requests[3])
    gate.open.set()
    assert [ids_of(each.result()) for each in (running, *waiting)] == expected[:3]


async def test_a_task_that_is_cancelled_frees_its_place(nano: LocalRegionModel, requests: list[Request]) -> None:
    gate = Gate("step")
    engine = Engine(Watched(nano, gate))
    pending = engine.submit(requests[0])
    task = asyncio.create_task(pending.wait())
    assert await asyncio.to_thread(gate.reached.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open.set()
    with pytest.raises(Cancelled):
        await asyncio.to_thread(pending.result)
    assert engine.counters().running == 0 and engine.counters().steps == 1


async def test_a_stream_that_is_left_early_frees_its_place(nano: LocalRegionModel, requests: list[Request]) -> None:
    gate = Gate("step")
    engine = Engine(Watched(nano, gate))
    pending = engine.submit(replace(requests[0], stream=True))
    pieces = pending.pieces()
    assert await anext(pieces) == "a"
    await pieces.aclose()
    gate.open.set()
    with pytest.raises(Cancelled):
        await asyncio.to_thread(pending.result)


def test_exclusive_work_waits_for_the_questions_and_forgets_the_images(nano: LocalRegionModel, requests: list[Request]) -> None:
    gate = Gate("step")
    engine = Engine(Watched(nano, gate))
    running, seen = engine.submit(requests[0]), []
    assert gate.reached.wait(30)
    work = threading.Thread(target=engine.run_exclusively, args=(lambda: seen.append((running.done, len(engine.cache))),))
    work.start()
    later = engine.submit(requests[1])
    gate.open.set()
    work.join(30)
    assert seen == [(True, 0)]
    assert later.result().cached == 0
    with pytest.raises(ValueError, match="broken"):
        engine.run_exclusively(lambda: (_ for _ in ()).throw(ValueError("broken")))
    assert engine.submit(requests[1]).result().text


def test_an_engine_that_is_stopped_takes_its_questions_back_and_starts_again(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]]
) -> None:
    gate = Gate("step")
    engine = Engine(Watched(nano, gate), EngineSettings(max_batch=1))
    asked = engine.submit_all(requests[:3])
    assert gate.reached.wait(30)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    gate.open.set()
    stopping.join(30)
    for each in asked:
        with pytest.raises(Cancelled, match="stopped"):
            each.result()
    assert ids_of(engine.submit(requests[0]).result()) == expected[0]


def test_a_process_that_ends_while_questions_are_answered_ends_well() -> None:
    program = f"""
from roi_agent import load_region_model
model = load_region_model("nano")
for n in range(20):
    model.stream({str(SCENE)!r}, "What is <region1>?", [{UMBRELLA}], temperature=2.0, max_new_tokens=900, seed=n)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


class _Endless(Runner):
    """A pass that goes on and on, as one of a large model on a CPU."""

    def encode(self, image: LoadedImage) -> CachedImage:
        reached.set()
        while True:
            time.sleep(0.01)


reached = threading.Event()


def test_a_pass_that_takes_too_long_is_broken_off_where_the_engine_stops(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_STOP_S", 0.1)
    engine = Engine(_Endless(nano.model, nano.processor))
    asked = engine.submit(requests[0])
    assert reached.wait(30)
    engine.stop()
    with pytest.raises(Cancelled, match="the engine was stopped"):
        asked.result()
    engine.runner = engine._batch._runner = Runner(nano.model, nano.processor)
    assert ids_of(engine.submit(requests[0]).result()) == expected[0]
