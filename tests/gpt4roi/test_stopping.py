"""An answer ends where the template's end marker stands in its text, however the marker is cut into tokens."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import StopStringCriteria

from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.gpt4roi.stopping import StopStrings
from roi_agent.model.protocol.answers import Answer
from roi_agent.model.train.held_out import HeldOut
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.settings import EvaluationSettings
from tests import training_sets
from tests.release import chain, load_processor, write_tokenizer

IMAGE, BOX = Image.new("RGB", (40, 30), "red"), [1, 2, 20, 22]
SURE = 0.99
# What a model that was trained on the template writes after an answer: the next question, and so on for ever.
ON = {"<0x0A>": {"##": SURE}, "##": {"#": SURE}, "#": {"▁Human": SURE}, "▁Human": {":": SURE}}
DOG = {":": {"▁dog": 0.8}, "▁dog": {"<0x0A>": SURE}, **ON}


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> GPT4RoIProcessor:
    folder = tmp_path_factory.mktemp("release")
    write_tokenizer(folder, "tokenizer.model")
    return load_processor(folder)


@pytest.fixture(scope="module")
def dog(processor: GPT4RoIProcessor) -> LocalRegionModel:
    return chain(processor, DOG)


def both_ways(model: LocalRegionModel, **decoding: Any) -> Answer:
    """The answer at once, which must be the one that is streamed."""
    answer = model.ask(IMAGE, "What is <region1>?", [BOX], **decoding)
    stream = model.stream(IMAGE, "What is <region1>?", [BOX], **decoding)
    assert "".join(stream) == stream.answer().text == answer.text
    streamed = stream.answer()
    assert (streamed.finish, streamed.tokens, streamed.confidence) == (answer.finish, answer.tokens, answer.confidence)
    assert streamed.usage.completion_tokens == answer.usage.completion_tokens
    return answer


def test_an_answer_ends_before_the_marker_and_its_confidence_is_that_of_its_own_tokens(dog: LocalRegionModel) -> None:
    answer = both_ways(dog, top_logprobs=0)
    assert (answer.text, answer.finish, answer.usage.completion_tokens) == ("dog", "stop", 4)
    assert [token.text for token in answer.tokens] == ["dog"] and answer.confidence == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("length", "finish"), [(1, "length"), (2, "length"), (3, "length"), (4, "stop"), (5, "stop")])
def test_no_part_of_the_marker_is_shown_where_an_answer_is_cut_inside_it(dog: LocalRegionModel, length: int, finish: str) -> None:
    answer = both_ways(dog, max_new_tokens=length)
    assert (answer.text, answer.finish) == ("dog", finish)
    assert answer.confidence == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(
    ("steps", "text", "confidence"),
    [
        ({":": {"▁#": 0.5}, "▁#": {"▁dog": 0.9}, "▁dog": {"<0x0A>": SURE}}, "# dog", math.sqrt(0.45)),
        ({":": {"▁##": 0.5}, "▁##": {"▁red": 0.9}, "▁red": {"▁###": SURE}}, "## red", math.sqrt(0.45)),
        ({":": {"▁red": 0.5}, "▁red": {"▁dog": 0.9}, "▁dog": {"▁####": SURE}}, "red dog", math.sqrt(0.45)),
        ({":": {"▁": 0.9}, "▁": {"<0xC3>": 0.9}, "<0xC3>": {"<0xA9>": 0.9}, "<0xA9>": {"<0x0A>": SURE}}, "é", 0.9),
        ({":": {"<0x0A>": SURE}}, "", 0.0),
        ({":": {"▁###": SURE}}, "", 0.0),
        ({":": {"▁dog": 0.8}, "▁dog": {"</s>": SURE}, "</s>": {"▁dog": SURE}}, "dog", 0.8),
    ],
)
def test_only_a_whole_marker_ends_an_answer(
    processor: GPT4RoIProcessor, steps: dict[str, dict[str, float]], text: str, confidence: float
) -> None:
    answer = both_ways(chain(processor, ON | steps))
    assert (answer.text, answer.finish) == (text, "stop") and answer.confidence == pytest.approx(confidence, abs=1e-4)


def test_a_stop_of_the_user_counts_beside_the_marker(dog: LocalRegionModel) -> None:
    assert both_ways(dog, stop=("og",)).text == "d"
    whole = both_ways(dog, stop=("dogs",))
    assert (whole.text, whole.finish) == ("dog", "stop") and whole.confidence == pytest.approx(0.8, abs=1e-4)
    assert both_ways(dog, stop=("dogs",), max_new_tokens=1).text == "dog"


def test_what_the_model_itself_generates_ends_there_too(processor: GPT4RoIProcessor, dog: LocalRegionModel) -> None:
    inputs = processor(IMAGE, "What is <region1>?", [BOX])
    length = inputs["input_ids"].shape[1]
    written = dog.model.generate(**inputs, **processor.stopping(length), max_new_tokens=20, do_sample=False)[:, length:]
    assert written.shape == (1, 4) and processor.decode_answer(written[0].tolist()) == "dog"
    for cut in (1, 2, 3):
        assert processor.decode_answer(written[0, :cut].tolist()) == "dog"


def test_rows_that_end_apart_are_each_cut_where_they_end(processor: GPT4RoIProcessor) -> None:
    model = chain(processor, ON | {":": {"▁dog": 0.9}, "▁red": {"▁cat": 0.9}, "▁cat": {"<0x0A>": SURE}, "▁dog": {"<0x0A>": SURE}})
    ends = [processor.tokenizer.get_vocab()[token] for token in (":", "▁red")]
    ids = torch.tensor([[1, 5, end] for end in ends])
    written = model.model.generate(ids, **processor.stopping(3), max_new_tokens=9, do_sample=False, pad_token_id=0)[:, 3:]
    assert written.shape[1] == 4 and [processor.decode_answer(row.tolist()) for row in written] == ["dog", "cat"]


def test_a_stop_string_counts_as_the_answer_shows_it(processor: GPT4RoIProcessor) -> None:
    """Where transformers' own criterion differs: at the end of the prompt, and around a token that no text shows."""
    known = processor.tokenizer.get_vocab()
    for tokens, prompt_length, ours in ((("##", "#"), 1, False), (("#", "<s>", "##"), 0, True), (("##", "#"), 0, True)):
        ids = torch.tensor([[known[token] for token in tokens]])
        assert bool(StopStrings(processor._decode, ["###"], prompt_length)(ids, torch.empty(0))) is ours
        theirs = StopStringCriteria(processor.tokenizer, ["###"])(ids, None)
        assert bool(theirs) is (ours if not prompt_length and "<s>" not in tokens else not ours)


def test_held_out_answers_are_not_written_beyond_the_marker(
    processor: GPT4RoIProcessor, dog: LocalRegionModel, tmp_path: Path
) -> None:
    training_sets.write_set(tmp_path, "some", scenes=1, each=2)
    held_out = HeldOut(tmp_path, EvaluationSettings("some", records=2, max_new_tokens=20), processor, length=2048)
    region = held_out.records[0].regions[0]
    held_out.records = [
        Record(str(number), "0.png", (64, 64), (region,), (RecordTurn("What?", answer),), "ours", "CC0-1.0")
        for number, answer in enumerate(("a dog", "Dog."))
    ]
    module, device = PackedLoss(dog.model), torch.device("cpu")
    prompts = held_out._prompts(held_out.records, device)
    assert module(None, prompts).shape[1] == prompts["input_ids"].shape[1] + 4
    assert held_out.evaluate(module, device).exact == 0.5
