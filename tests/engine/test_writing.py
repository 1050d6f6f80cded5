"""What the engine writes: pieces, stops, lengths, probabilities, and draws that can be repeated."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from roi_agent import load_region_model
from roi_agent.model.engine import Engine, EngineSettings, Request, Runner
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import (
    InvalidSetting,
)
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Decoding
from tests.engine.asked import BOXES, FLAG, SCENE, SQUARE, UMBRELLA, generated, ids_of, request


def test_a_stream_yields_the_answer_piece_by_piece(nano: LocalRegionModel) -> None:
    stream = nano.stream(SCENE, "What is <region1>?", [UMBRELLA])
    pieces = list(stream)
    assert len(pieces) > 2 and "".join(pieces) == stream.answer().text == "a large orange umbrella"


async def test_async_questions_share_the_image_and_a_stream_arrives_as_it_is_generated() -> None:
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
