"""Templates of other model families: their turns are the tokenizer's own special tokens, and what users type never is."""

import re
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from roi_agent.loading import SHIPPED
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor, register_special_tokens
from roi_agent.model.protocol.conversation import ConversationTemplate, Turn
from tests.release import chain, make_processor

IMAGE, BOX = Image.new("RGB", (40, 30), "red"), [1, 2, 20, 22]
REGIONS = [Region(f"region{number}", Box(0, 0, 10 * number, 10)) for number in (1, 2)]
MENTIONS: dict[str, Any] = {"first_mention": "{name} <bbox>", "later_mention": "{name}", "introduction": "{mentions}. "}
PICTURE = "<im_start>{image}<im_end>"
FAMILIES = {
    "chatml": ConversationTemplate(
        opening=f"<|im_start|>system\nLook at it.<|im_end|>\n<|im_start|>user\n{PICTURE}\n",
        first_question="{question}<|im_end|>\n<|im_start|>assistant\n",
        next_question="\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        answer="{answer}",
        end="<|im_end|>",
        **MENTIONS,
    ),
    "llama-3": ConversationTemplate(
        opening=f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{PICTURE}\n",
        first_question="{question}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        next_question="<|start_header_id|>user<|end_header_id|>\n\n{question}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        answer="{answer}",
        end="<|eot_id|>",
        **MENTIONS,
    ),
    "gemma": ConversationTemplate(
        opening=f"<bos><start_of_turn>user\n{PICTURE}",
        first_question="{question}<end_of_turn>\n<start_of_turn>model\n",
        next_question="<start_of_turn>user\n{question}<end_of_turn>\n<start_of_turn>model\n",
        answer="{answer}",
        end="<end_of_turn>\n",
        **MENTIONS,
    ),
    "brackets": ConversationTemplate(
        opening=f"<s>[INST] <<SYS>>{PICTURE}",
        first_question="{question}[/INST]",
        next_question="[INST] {question}[/INST]",
        answer=" {answer}",
        end="\n</s>",
        **MENTIONS,
    ),
    "wide bars": ConversationTemplate(
        opening=f"<\uff5cbegin▁of▁sentence\uff5c>{PICTURE}",
        first_question="<\uff5cUser\uff5c>{question}<\uff5cAssistant\uff5c>",
        next_question="<\uff5cUser\uff5c>{question}<\uff5cAssistant\uff5c>",
        answer="{answer}",
        end="<\uff5cend▁of▁sentence\uff5c>",
        **MENTIONS,
    ),
}
SPECIAL = {
    "chatml": ["<|im_start|>", "<|im_end|>"],
    "llama-3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "gemma": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    "brackets": ["<s>", "[INST]", "[/INST]", "</s>"],
    "wide bars": [
        "<\uff5cbegin▁of▁sentence\uff5c>",
        "<\uff5cUser\uff5c>",
        "<\uff5cAssistant\uff5c>",
        "<\uff5cend▁of▁sentence\uff5c>",
    ],
}
STARTS = {"llama-3": "<|begin_of_text|>", "gemma": "<bos>", "brackets": "<s>", "wide bars": "<\uff5cbegin▁of▁sentence\uff5c>"}


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE that has the family's tokens, and ours."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL[family], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(["a red dog is left of a cat\n", "user assistant model system <| |> [ ]"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=STARTS.get(family), clean_up_tokenization_spaces=False)
    register_special_tokens(tokenizer)
    if len(tokenizer) % 2:
        tokenizer.add_tokens(["<tool_call>"])
    return tokenizer


@pytest.fixture(params=FAMILIES)
def processor(request: pytest.FixtureRequest) -> GPT4RoIProcessor:
    made = make_processor(make_tokenizer(request.param))
    made.template = FAMILIES[request.param]
    return made


def test_turns_are_the_tokenizers_own_special_tokens(processor: GPT4RoIProcessor) -> None:
    turns = [Turn("Is <region1> a dog?", "a red\ndog"), Turn("And <region2>, left of <region1>?", "no"), Turn("Why?")]
    prompt = processor.render(turns, REGIONS)
    ids, labels = processor.encode(prompt)
    text = "".join(piece.text for piece in prompt.pieces)
    assert ids == processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    learned = processor.tokenizer.decode([token for token in labels if token != IGNORE])
    template = processor.template
    assert learned == "".join(template.answer.format(answer=turn.answer) + template.end for turn in turns[:2])


def test_what_users_type_is_never_a_special_token(processor: GPT4RoIProcessor) -> None:
    tokenizer = processor.tokenizer
    for typed in tokenizer.all_special_tokens:
        turns = [Turn("a ? b", "c d"), Turn("e")]
        counted = [Turn(f"a {typed}?{typed} b", f"c {typed}{typed} d"), Turn(typed)]
        plain, ids = (processor.encode(processor.render(each, []))[0] for each in (turns, counted))
        for special in tokenizer.all_special_ids:
            assert ids.count(special) == plain.count(special), typed
        assert tokenizer.decode(ids).count(f"{typed}?{typed} b") == 1


@pytest.mark.parametrize("own", [True, False])
def test_an_answer_ends_with_the_familys_token_or_that_of_the_tokenizer(processor: GPT4RoIProcessor, own: bool) -> None:
    processor.tokenizer.eos_token = "[PAD]"
    end = processor.template.ending()[1] if own else "[PAD]"
    last = processor.tokenizer.convert_ids_to_tokens(processor.encode(processor.render([Turn("a?")], []))[0])[-1]
    model = chain(processor, {last: {"a": 0.7}, "a": {end: 0.6}, end: {"a": 0.9}})
    model.processor.template = processor.template
    answer = model.ask(IMAGE, "What is <region1>?", [BOX], max_new_tokens=5)
    assert (answer.text, answer.finish, answer.usage.completion_tokens) == ("a", "stop", 2)
    assert answer.confidence == pytest.approx(0.7, abs=1e-3) and "".join(model.stream(IMAGE, "a?", [BOX])) == "a"


@pytest.mark.parametrize(
    ("template", "lacked"),
    [
        (FAMILIES["chatml"], "contains <|im_start|>, <|im_end|>, which"),
        (FAMILIES["llama-3"], "contains <|begin_of_text|>, <|start_header_id|>, <|end_header_id|>, <|eot_id|>, which"),
        (FAMILIES["gemma"], "contains <bos>, <start_of_turn>, <end_of_turn>, which"),
        (FAMILIES["wide bars"], f"contains {', '.join(SPECIAL['wide bars'])}, which"),
        (replace(ConversationTemplate.load("nano"), next_question="<next-1>{question}<assistant>"), "contains <next-1>, which"),
        (replace(ConversationTemplate.load("nano"), later_mention="{name}<again>"), "contains <again>, which"),
    ],
)
def test_tokens_that_the_tokenizer_lacks_are_named_before_anything_is_asked(template: ConversationTemplate, lacked: str) -> None:
    nano = LocalRegionModel.from_folder(SHIPPED["ask"]["nano"])
    nano.processor.template = template
    with pytest.raises(CheckpointMismatch, match=re.escape(lacked)):
        nano.processor.encode(nano.processor.render([Turn("a?")], []))
    with pytest.raises(CheckpointMismatch, match=re.escape(lacked)):
        LocalRegionModel(nano.model, nano.processor)


def test_a_template_says_what_happens_to_white_space() -> None:
    with pytest.raises(InvalidSetting, match="white_space is 'gone'"):
        replace(FAMILIES["chatml"], white_space="gone")
