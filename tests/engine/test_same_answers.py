"""The engine gives the same answers however questions come together, and images come and go."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from roi_agent.model.engine import Engine, EngineSettings, Request, RequestHandle, Runner
from roi_agent.model.engine.attention import shared_prefix_attention
from roi_agent.model.engine.kv_cache import BatchedKVCache, Prefix
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import (
    Cancelled,
    InvalidSetting,
)
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.model.gpt4roi.processing import normalised_boxes
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.toy.world.scenes import make_scene, render
from tests.engine.asked import BOXES, generated, ids_of, request
from tests.small import clip, gpt2, llama, make_model, make_processor, qwen2


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
    assert done.vision_passes == done.evicted == 16 and done.cached_images == done.cached_bytes == 0
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
    assert done.vision_passes == 5 and done.cached_images == 5
    assert done.cached_bytes == engine.cache.nbytes > 5 * 100_000


def test_the_budget_of_bytes_holds(nano: LocalRegionModel) -> None:
    images = [load_image(render(make_scene(900_100 + seed)).image) for seed in range(6)]
    one = Engine(Runner(nano.model, nano.processor))
    one.submit(request(nano, images[0], (), "What is here?")).result()
    budget = int(one.cache.nbytes * 2.5)
    engine = Engine(Runner(nano.model, nano.processor), EngineSettings(cache_bytes=budget))
    for image in (*images, images[-1], images[0]):
        engine.submit(request(nano, image, (), "What is here?")).result()
    done = engine.counters()
    assert done.cached_images == 2 and done.cached_bytes <= budget
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
    pending: list[RequestHandle] = []
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
    rows = BatchedKVCache(each, torch.zeros(batch, dtype=torch.long))
    query = torch.randn(batch, heads, length, width)
    key, value = torch.randn(batch, kept, length, width), torch.randn(batch, kept, length, width)
    mask = torch.full((length, length), -1e30).triu(1)[None, None]
    ours, _ = shared_prefix_attention(layer, query, key, value, mask, shared_rows=rows)
    keys = torch.cat([torch.stack([shared.keys[0] for shared in each]), key], 2)
    values = torch.cat([torch.stack([shared.values[0] for shared in each]), value], 2)
    seen = torch.cat([torch.zeros(1, 1, length, prefix), mask], -1)
    plain = torch.nn.functional.scaled_dot_product_attention(query, keys, values, seen, enable_gqa=True)
    torch.testing.assert_close(ours, plain.transpose(1, 2), rtol=0, atol=1e-5)
