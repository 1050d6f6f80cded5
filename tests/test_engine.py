"""The engine: the same answers however questions come together, and none that hurts another."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from roi_agent import load_region_model
from roi_agent.model.answers import Decoding
from roi_agent.model.conversation import Turn
from roi_agent.model.data.scenes import make_scene, render
from roi_agent.model.engine import Engine, EngineSettings, Pending, Request, Runner, Written
from roi_agent.model.engine.attention import shared_prefix_attention
from roi_agent.model.engine.cache import KeptImage
from roi_agent.model.engine.rows import Prefix, Rows
from roi_agent.model.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineFailed,
    InvalidSetting,
    ModelOutputInvalid,
    OutOfMemory,
    QueueFull,
)
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.local import LocalRegionModel
from roi_agent.model.processing import normalised_boxes
from roi_agent.model.regions import Region, parse_regions
from tests.small import clip, gpt2, llama, make_model, make_processor, qwen2

SCENE = Path(__file__).parent.parent / "examples" / "scene1.png"
UMBRELLA, FLAG, SMALL_FLAG, SQUARE = [123, 194, 303, 377], [141, 9, 246, 134], [16, 54, 84, 135], [315, 145, 504, 334]
BOXES = [UMBRELLA, FLAG, SMALL_FLAG, SQUARE]
SIXTEEN = [
    *(f"What is <region{n}>?" for n in (1, 2, 3, 4)),
    *(f"What colour is <region{n}>?" for n in (1, 2, 3, 4)),
    *(f"Is <region{n}> left of <region{n + 1}>?" for n in (1, 2, 3)),
    "Which is larger, <region1> or <region4>?",
    "Which region is the largest?",
    "Do <region2> and <region3> have the same colour?",
    "How many of <region1>, <region2> and <region3> are flags?",
    "Where is <region2>?",
]


@pytest.fixture(scope="module")
def nano() -> LocalRegionModel:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    return model


@pytest.fixture(scope="module")
def scene() -> LoadedImage:
    return load_image(SCENE)


@pytest.fixture(scope="module")
def regions(scene: LoadedImage) -> tuple[Region, ...]:
    return parse_regions(BOXES, size_wh=scene.size_wh, format="xyxy", unit="pixel")


@pytest.fixture(scope="module")
def requests(nano: LocalRegionModel, scene: LoadedImage, regions: tuple[Region, ...]) -> list[Request]:
    return [request(nano, scene, regions, question) for question in SIXTEEN]


@pytest.fixture(scope="module")
def expected(nano: LocalRegionModel, requests: list[Request]) -> list[list[int]]:
    """What the model itself generates, with everything computed anew for every question."""
    return [generated(nano, each) for each in requests]


def request(nano: LocalRegionModel, image: LoadedImage, regions: Sequence[Region], question: str, **decoding: Any) -> Request:
    return nano._request(image, [Turn(question)], regions, Decoding(**decoding))


def generated(nano: LocalRegionModel, request: Request) -> list[int]:
    output = nano.model.generate(
        input_ids=torch.tensor([list(request.ids)]),
        pixel_values=nano.processor.pixels([request.image.pixels]),
        boxes=[normalised_boxes(request.regions, request.image.size_wh)],
        max_new_tokens=request.decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=nano.processor.end_ids(),
        pad_token_id=0,
    )
    return without_end(nano, output[0, len(request.ids) :].tolist())


def without_end(nano: LocalRegionModel, ids: list[int]) -> list[int]:
    (end,) = nano.processor.end_ids()
    return ids[: ids.index(end)] if end in ids else ids


def ids_of(written: Written) -> list[int]:
    return [token.id for token in written.tokens]


class Watched(Runner):
    """A runner that calls `before(what, rows)` before every pass: encode, prefill, step."""

    def __init__(self, nano: LocalRegionModel, before: Callable[[str, int], object]) -> None:
        super().__init__(nano.model, nano.processor)
        self._before = before

    def encode(self, image: LoadedImage) -> KeptImage:
        self._before("encode", 1)
        return super().encode(image)

    def prefill(self, requests: Sequence[Request], kept: Sequence[KeptImage]) -> tuple[Rows, list[Tensor]]:
        self._before("prefill", len(requests))
        return super().prefill(requests, kept)

    def step(self, rows: Rows, tokens: Sequence[int]) -> Tensor:
        self._before("step", len(rows))
        return super().step(rows, tokens)


class Gate:
    """Holds the engine at its next pass of one kind until it is opened."""

    def __init__(self, at: str) -> None:
        self.at, self.reached, self.open = at, threading.Event(), threading.Event()

    def __call__(self, what: str, rows: int) -> None:
        if what == self.at and not self.open.is_set():
            self.reached.set()
            assert self.open.wait(30)


# -- the same answers


def test_a_batch_of_sixteen_answers_as_one_by_one(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]]
) -> None:
    together = Engine(Runner(nano.model, nano.processor))
    assert [ids_of(each.result()) for each in together.submit_all(requests)] == expected
    done = together.counters()
    assert (done.vision_passes, done.fusions, done.prefix_passes) == (1, 1, 1)
    assert done.answered == 16 and done.running == done.waiting == done.failed == 0
    alone = Engine(Runner(nano.model, nano.processor))
    assert [ids_of(alone.submit(each).result()) for each in requests] == expected
    assert alone.counters().vision_passes == 1


def test_an_image_that_was_forgotten_gives_the_same_answers(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]]
) -> None:
    engine = Engine(Runner(nano.model, nano.processor), EngineSettings(cache_bytes=0))
    assert [ids_of(engine.submit(each).result()) for each in requests] == expected
    done = engine.counters()
    assert done.vision_passes == done.evicted == 16 and done.kept_images == done.kept_bytes == 0
    # Questions that come together share the image even where nothing is kept.
    assert [ids_of(each.result()) for each in engine.submit_all(requests)] == expected
    assert engine.counters().vision_passes == 17


def test_questions_about_many_images_are_answered_together(nano: LocalRegionModel) -> None:
    scenes = [make_scene(900_000 + seed) for seed in range(5)]
    images = [load_image(render(each).image) for each in scenes]
    asked = []
    for index in range(15):
        image, scene = images[index % 5], scenes[index % 5]
        box = scene.things[index // 5 % len(scene.things)].box
        known = parse_regions([box], size_wh=image.size_wh, format="xyxy", unit="normalised")
        asked.append(request(nano, image, known, "What is <region1>?"))
    engine = Engine(Runner(nano.model, nano.processor))
    assert [ids_of(each.result()) for each in engine.submit_all(asked)] == [generated(nano, each) for each in asked]
    done = engine.counters()
    assert done.vision_passes == 5 and done.kept_images == 5
    assert done.kept_bytes == engine.cache.nbytes > 5 * 100_000


def test_the_budget_of_bytes_holds(nano: LocalRegionModel) -> None:
    images = [load_image(render(make_scene(900_100 + seed)).image) for seed in range(6)]
    one = Engine(Runner(nano.model, nano.processor))
    one.submit(request(nano, images[0], (), "What is here?")).result()
    budget = int(one.cache.nbytes * 2.5)
    engine = Engine(Runner(nano.model, nano.processor), EngineSettings(cache_bytes=budget))
    for image in (*images, images[-1], images[0]):
        engine.submit(request(nano, image, (), "What is here?")).result()
    done = engine.counters()
    assert done.kept_images == 2 and done.kept_bytes <= budget
    assert done.vision_passes == 7 and done.evicted == 5  # the last image was still there, the first was not


@torch.no_grad()
def test_logits_are_those_of_the_model(nano: LocalRegionModel, requests: list[Request], expected: list[list[int]]) -> None:
    runner = Runner(nano.model, nano.processor)
    kept = runner.encode(requests[0].image)
    rows, first = runner.prefill(requests, [kept] * len(requests))
    seen = [torch.cat(first)]
    for position in range(2):
        tokens = [ids[position] if position < len(ids) else 0 for ids in expected]
        seen.append(runner.step(rows, tokens))
        rows.lengths = rows.lengths + 1
    for index, (asked, answer) in enumerate(zip(requests, expected, strict=True)):
        ids = [*asked.ids, *answer[:2]]
        logits = nano.model(
            input_ids=torch.tensor([ids]),
            pixel_values=nano.processor.pixels([asked.image.pixels]),
            boxes=[normalised_boxes(asked.regions, asked.image.size_wh)],
        ).logits[0]
        for step in range(min(2, len(answer)) + 1):
            torch.testing.assert_close(seen[step][index], logits[len(asked.ids) - 1 + step], rtol=0, atol=1e-4)


@pytest.mark.parametrize("text", [llama, qwen2, gpt2])
def test_any_language_model_gives_what_it_generates(text: Callable[[], Any], scene: LoadedImage) -> None:
    model = make_model(clip, text)
    small = LocalRegionModel(model, make_processor(model.config))
    boxes = parse_regions(BOXES, size_wh=scene.size_wh, format="xyxy", unit="pixel")
    asked = [request(small, scene, boxes, f"is <region{n}> a red ball ?", max_new_tokens=8) for n in (1, 2, 3, 4)]
    (end,) = small.processor.end_ids()
    told = [each.result() for each in small.engine.submit_all(asked)]
    for each, written in zip(asked, told, strict=True):
        assert ids_of(written) == generated(small, each)
        assert end not in ids_of(written)


def test_layers_that_do_not_see_everything_are_refused() -> None:
    model = make_model()
    model.language_model.config.layer_types = ["sliding_attention", "full_attention"]
    with pytest.raises(InvalidSetting, match="sliding_attention"):
        Runner(model, make_processor(model.config))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_questions_that_come_and_go_are_answered_as_alone(
    nano: LocalRegionModel, requests: list[Request], expected: list[list[int]], data: st.DataObject
) -> None:
    order = data.draw(st.lists(st.integers(0, 15), min_size=1, max_size=12))
    cuts = data.draw(st.lists(st.integers(1, 4), min_size=len(order), max_size=len(order)))
    batch = data.draw(st.integers(1, 5))
    gone = data.draw(st.sets(st.sampled_from(range(len(order))), max_size=3))
    engine = Engine(
        Runner(nano.model, nano.processor), EngineSettings(max_batch=batch, cache_bytes=data.draw(st.sampled_from([0, 2**30])))
    )
    pending: list[Pending] = []
    for start, size in zip(range(0, len(order), 3), cuts, strict=False):
        pending += engine.submit_all([requests[each] for each in order[start : start + 3]])
        if size == 1:
            pending[-1]._future.exception()  # let some finish before the next come
    for index in gone:
        pending[index].cancel()
    for index, (each, which) in enumerate(zip(pending, order, strict=True)):
        if index in gone:
            assert each._future.exception() is None or isinstance(each._future.exception(), Cancelled)
        else:
            assert ids_of(each.result()) == expected[which]
    assert engine.counters().running == engine.counters().waiting == 0


@settings(max_examples=60, deadline=None)
@given(
    images=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    groups=st.sampled_from([(4, 4), (4, 2), (4, 1)]),
    length=st.integers(1, 5),
    prefix=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_attention_over_a_shared_beginning_is_that_over_all_keys(
    images: list[int], groups: tuple[int, int], length: int, prefix: int, seed: int
) -> None:
    torch.manual_seed(seed)
    (heads, kept), width, batch = groups, 8, sum(images)
    layer = torch.nn.Module()
    layer.layer_idx = 0  # type: ignore[assignment]
    prefixes = [Prefix([torch.randn(kept, prefix, width)], [torch.randn(kept, prefix, width)]) for _ in images]
    each = [shared for shared, count in zip(prefixes, images, strict=True) for _ in range(count)]
    rows = Rows(each, torch.zeros(batch, dtype=torch.long))
    query = torch.randn(batch, heads, length, width)
    key, value = torch.randn(batch, kept, length, width), torch.randn(batch, kept, length, width)
    mask = torch.full((length, length), -1e30).triu(1)[None, None]
    ours, _ = shared_prefix_attention(layer, query, key, value, mask, shared_rows=rows)
    keys = torch.cat([torch.stack([shared.keys[0] for shared in each]), key], 2)
    values = torch.cat([torch.stack([shared.values[0] for shared in each]), value], 2)
    seen = torch.cat([torch.zeros(1, 1, length, prefix), mask], -1)
    plain = torch.nn.functional.scaled_dot_product_attention(query, keys, values, seen, enable_gqa=True)
    torch.testing.assert_close(ours, plain.transpose(1, 2), rtol=0, atol=1e-5)


# -- what is written


def test_a_stream_tells_the_answer_piece_by_piece(nano: LocalRegionModel) -> None:
    stream = nano.stream(SCENE, "What is <region1>?", [UMBRELLA])
    pieces = list(stream)
    assert len(pieces) > 2 and "".join(pieces) == stream.answer().text == "a large orange umbrella"


async def test_async_questions_share_the_image_and_a_stream_is_told_as_it_is_written() -> None:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    colours = await asyncio.gather(*(model.aask(SCENE, "What colour is <region1>?", [box]) for box in BOXES))
    assert [each.text for each in colours] == ["orange", "pink", "orange", "yellow"]
    assert model.engine.counters().vision_passes == 1
    assert "".join([piece async for piece in model.stream(SCENE, "What is <region1>?", [SQUARE])]) == "a large yellow square"
    assert [each.text for each in await model.aask_each(SCENE, "What colour is <region>?", BOXES[:2])] == ["orange", "pink"]
    assert (await model.achoose(SCENE, "What colour is <region1>?", ["pink", "blue"], [FLAG])).text == "pink"


def test_a_stop_text_ends_the_answer_before_it(nano: LocalRegionModel) -> None:
    for stop, left in (("umbrella", "a large orange"), ("ge or", "a lar"), ("never", "a large orange umbrella")):
        stream = nano.stream(SCENE, "What is <region1>?", [UMBRELLA], stop=(stop,))
        assert "".join(stream) == left == stream.answer().text
        assert stream.answer().finish == "stop"


def test_a_text_read_at_the_end_is_the_one_that_is_streamed(nano: LocalRegionModel, requests: list[Request]) -> None:
    hot = [replace(each, decoding=Decoding(temperature=2.0, max_new_tokens=40, seed=seed)) for seed, each in enumerate(requests)]
    engine = Engine(Runner(nano.model, nano.processor))
    streamed = engine.submit_all([replace(each, stream=True) for each in hot])
    for whole, pending in zip(engine.submit_all(hot), streamed, strict=True):
        pieces, at_once = list(pending), list(whole)
        assert "".join(pieces) == pending.result().text == whole.result().text == "".join(at_once)
        assert ids_of(pending.result()) == ids_of(whole.result())
        assert len(at_once) == 1 and (len(pieces) > 1 or len(pending.result().tokens) <= 2)
        assert list(pending) == []  # told once


def test_an_answer_that_is_cut_says_so(nano: LocalRegionModel) -> None:
    answer = nano.ask(SCENE, "What is <region1>?", [UMBRELLA], max_new_tokens=2)
    assert (answer.text, answer.finish, answer.usage.completion_tokens) == ("a large", "length", 2)
    whole = nano.ask(SCENE, "What is <region1>?", [UMBRELLA])
    assert whole.finish == "stop" and whole.tokens == ()


def test_tokens_come_with_their_likeliest_rivals(nano: LocalRegionModel) -> None:
    answer = nano.ask(SCENE, "What colour is <region1>?", [UMBRELLA], top_logprobs=3)
    (token,) = answer.tokens
    assert token.text.strip() == "orange" and token.likeliest[0] == (token.text, token.logprob)
    assert [score for _, score in token.likeliest] == sorted((score for _, score in token.likeliest), reverse=True)
    assert len(token.likeliest) == 3 and answer.to_dict()["tokens"][0]["text"] == token.text


def test_sampling_draws_the_same_alone_and_among_others(
    nano: LocalRegionModel, scene: LoadedImage, regions: tuple[Region, ...], requests: list[Request]
) -> None:
    engine = Engine(Runner(nano.model, nano.processor))
    drawn = [request(nano, scene, regions, "What is <region2>?", temperature=2.0, seed=seed) for seed in range(12)]
    alone = [ids_of(engine.submit(each).result()) for each in drawn]
    together = [ids_of(each.result()) for each in engine.submit_all([*drawn, *requests])[:12]]
    assert together == alone
    assert len({tuple(ids) for ids in alone}) > 1
    certain = [request(nano, scene, regions, "What is <region2>?", temperature=2.0, top_p=1e-9, seed=s) for s in range(3)]
    assert {tuple(ids_of(engine.submit(each).result())) for each in certain} == {tuple(generated(nano, requests[1]))}


def test_the_usage_counts_what_was_kept() -> None:
    model = load_region_model("nano")
    first = model.ask(SCENE, "What is <region1>?", [UMBRELLA])
    second = model.ask(SCENE, "What is <region1>?", [SQUARE])
    assert first.usage.cached_tokens == 0 < second.usage.cached_tokens < second.usage.prompt_tokens
    assert not first.timing.image_cached and second.timing.image_cached
    assert 0 < second.timing.first_token_s <= second.timing.total_s


@pytest.mark.parametrize(
    "options",
    [{"stop": "x"}, {"stop": ("",)}, {"stop": ("a",) * 5}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"top_logprobs": 21}],
)
def test_impossible_ways_to_write_are_refused(nano: LocalRegionModel, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(options))):
        nano.ask(SCENE, "What is <region1>?", [UMBRELLA], **options)


@pytest.mark.parametrize("options", [{"cache_bytes": -1}, {"max_batch": 0}, {"max_waiting": 0}])
def test_impossible_engines_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(options))):
        EngineSettings(**options)


# -- coming, going, waiting


@pytest.fixture
def gated(nano: LocalRegionModel, request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Gate]]:
    gate = Gate(request.param)
    yield Engine(Watched(nano, gate), EngineSettings(max_batch=2, max_waiting=2)), gate
    gate.open.set()


PHASES = pytest.mark.parametrize("gated", ["encode", "prefill", "step"], indirect=True)


@PHASES
def test_a_question_is_taken_back_in_any_phase(
    gated: tuple[Engine, Gate], requests: list[Request], expected: list[list[int]]
) -> None:
    engine, gate = gated
    first, second = engine.submit_all(requests[:2])
    assert gate.reached.wait(30)
    waiting = engine.submit(requests[2])
    for each in (first, waiting):
        each.cancel()
    gate.open.set()
    with pytest.raises(Cancelled, match="taken back"):
        first.result()
    with pytest.raises(Cancelled, match="while it was waiting"):
        waiting.result()
    assert ids_of(second.result()) == expected[1]
    done = engine.counters()
    assert (done.answered, done.failed, done.running, done.waiting) == (1, 2, 0, 0)


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
    with pytest.raises(QueueFull, match="2 questions wait and 1 more came; 2 may wait"):
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


def test_an_errand_waits_for_the_questions_and_forgets_the_images(nano: LocalRegionModel, requests: list[Request]) -> None:
    gate = Gate("step")
    engine = Engine(Watched(nano, gate))
    running, seen = engine.submit(requests[0]), []
    assert gate.reached.wait(30)
    errand = threading.Thread(target=engine.alone, args=(lambda: seen.append((running.done, len(engine.cache))),))
    errand.start()
    later = engine.submit(requests[1])
    gate.open.set()
    errand.join(30)
    assert seen == [(True, 0)]
    assert later.result().cached == 0
    with pytest.raises(ValueError, match="broken"):
        engine.alone(lambda: (_ for _ in ()).throw(ValueError("broken")))
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


# -- faults


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

    def prefill(self, requests: Sequence[Request], kept: Sequence[KeptImage]) -> tuple[Rows, list[Tensor]]:
        if self._at == "prefill" and self._poison in requests:
            raise ValueError("a shape that no kernel takes")
        return super().prefill(requests, kept)

    def step(self, rows: Rows, tokens: Sequence[int]) -> Tensor:
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
