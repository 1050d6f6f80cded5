"""From image, text and regions to tensors: what is special, what is data, and where boxes end up."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from roi_agent.loading import SHIPPED
from roi_agent.model.errors import BoxOutOfBounds, CheckpointMismatch, UnknownRegion
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor, new_processor
from roi_agent.model.protocol.conversation import Turn
from tests.small import make_processor, small_config


@pytest.fixture(scope="module")
def processor() -> GPT4RoIProcessor:
    loaded: GPT4RoIProcessor = GPT4RoIProcessor.from_pretrained(SHIPPED["ask"]["nano"])
    return loaded


IMAGE = Image.new("RGB", (200, 100), "red")


def test_boxes_come_normalised_in_the_order_of_mention(processor: GPT4RoIProcessor) -> None:
    inputs = processor(IMAGE, "Is <region2> like <region1>?", [[0, 0, 100, 100], [50, 25, 200, 75]])
    assert torch.equal(inputs["boxes"][0], torch.tensor([[0.25, 0.25, 1, 0.75], [0, 0, 0.5, 1]]))
    assert inputs["pixel_values"].shape == (1, 3, 128, 128)
    bbox = processor.tokenizer.convert_tokens_to_ids("<bbox>")
    assert (inputs["input_ids"] == bbox).sum() == 2


def test_no_regions_give_no_boxes(processor: GPT4RoIProcessor) -> None:
    inputs = processor(IMAGE, "What is this?")
    assert inputs["boxes"][0].shape == (0, 4)


def test_named_formats_are_converted_once(processor: GPT4RoIProcessor) -> None:
    pixel = processor(IMAGE, "<region1>?", [[20, 10, 60, 40]])["boxes"][0]
    parts = processor(IMAGE, "<region1>?", [[0.1, 0.1, 0.2, 0.3]], format="xywh", unit="normalised")["boxes"][0]
    assert torch.allclose(pixel, parts)


@pytest.mark.parametrize("typed", ["<bbox>", "<im_patch>", "</s>", "<user>", "<assistant>", "<pad>", "<im_start>"])
def test_special_tokens_typed_by_a_user_stay_text(processor: GPT4RoIProcessor, typed: str) -> None:
    special = processor.tokenizer.convert_tokens_to_ids(typed)
    plain, _ = processor.encode(processor.render([Turn("What?")], []))
    ids, _ = processor.encode(processor.render([Turn(f"What {typed}?")], []))
    assert ids.count(special) == plain.count(special)
    assert typed in processor.tokenizer.decode(ids)


@pytest.mark.parametrize("typed", ["<bbox>", "<im_patch>", "[PAD]", "</s>", "<im_end>"])
def test_a_word_of_the_vocabulary_that_is_special_stays_text_too(typed: str) -> None:
    small = make_processor(small_config())  # whole words, among them the special ones
    special = small.tokenizer.convert_tokens_to_ids(typed)
    plain, ids = (small.encode(small.render([Turn(f"is {word} red ?", word)], []))[0] for word in ("a", typed))
    assert ids.count(special) == plain.count(special)


def test_a_turn_marker_typed_by_a_user_has_other_tokens_than_the_marker(processor: GPT4RoIProcessor) -> None:
    hashes = processor.tokenizer.encode("#", add_special_tokens=False)
    ids, _ = processor.encode(processor.render([Turn("###")], []))
    assert [token for token in ids if token in hashes] == hashes * 3


def test_handles_of_any_number_are_read_digit_by_digit(processor: GPT4RoIProcessor) -> None:
    region = Region("region17", Box(0, 0, 10, 10))
    ids, _ = processor.encode(processor.render([Turn("What is <region17>?")], [region]))
    one, seven = (processor.tokenizer.encode(digit, add_special_tokens=False)[0] for digit in "17")
    bbox = processor.tokenizer.convert_tokens_to_ids("<bbox>")
    position = ids.index(bbox)
    assert ids[position - 2 : position] == [one, seven]


def test_labels_cover_the_answers_and_nothing_else(processor: GPT4RoIProcessor) -> None:
    ids, labels = processor.encode(processor.render([Turn("a?", "yes"), Turn("b?", "no")], []))
    learned = [token for token in labels if token != IGNORE]
    assert processor.tokenizer.decode(learned) == "yes</s>no</s>"
    assert len(ids) == len(labels)


def test_nano_reads_conversations_as_it_was_trained_to(processor: GPT4RoIProcessor) -> None:
    for case in json.loads((Path(__file__).parents[1] / "fixtures" / "nano_tokens.json").read_text(encoding="utf-8")):
        of_template = GPT4RoIProcessor(processor.image_processor, processor.tokenizer, case["prompt"], 2)
        regions = [Region(f"region{number}", Box(0, 0, 10 * number, 10)) for number in range(1, case["regions"] + 1)]
        ids, labels = of_template.encode(of_template.render([Turn(*turn) for turn in case["turns"]], regions))
        assert ids == case["ids"], case["turns"]
        learned = set(case["learned"])
        assert labels == [token if place in learned else IGNORE for place, token in enumerate(ids)], case["turns"]


def test_saving_and_loading_changes_nothing(processor: GPT4RoIProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    again = GPT4RoIProcessor.from_pretrained(tmp_path)
    question, boxes = "What is <region1>?", [[1, 2, 30, 40]]
    for key, value in processor(IMAGE, question, boxes).items():
        other = again(IMAGE, question, boxes)[key]
        assert all(torch.equal(a, b) for a, b in zip(value, other, strict=True))


def test_the_published_two_step_resize_is_an_option(processor: GPT4RoIProcessor) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    two_step = GPT4RoIProcessor(processor.image_processor, processor.tokenizer, "nano", 16, two_step_resize=True)
    direct, stepped = processor.pixels([image]), two_step.pixels([image])
    assert direct.shape == stepped.shape == (1, 3, 128, 128)
    assert 0 < (direct - stepped).abs().mean() < 0.5


def test_coded_errors_come_through(processor: GPT4RoIProcessor) -> None:
    with pytest.raises(UnknownRegion):
        processor(IMAGE, "<region2>?", [[0, 0, 1, 1]])
    with pytest.raises(BoxOutOfBounds, match="200 wide"):
        processor(IMAGE, "<region1>?", [[0, 0, 201, 1]])


def test_a_tokenizer_with_other_ids_is_refused(processor: GPT4RoIProcessor) -> None:
    from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig

    config = GPT4RoIConfig.preset("nano")
    config.region_token_id = 99
    with pytest.raises(CheckpointMismatch, match="<bbox> has id 4"):
        new_processor(config, processor.tokenizer)
