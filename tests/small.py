"""Small random GPT4RoIs of any vision tower and any language model, with inputs and a processor."""

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Dinov2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    ResNetConfig,
    SiglipVisionConfig,
    ViTConfig,
)

from roi_agent.model import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from roi_agent.model.gpt4roi.processing import new_processor, register_special_tokens

PAD, IMAGE, REGION, START, END = 9, 10, 11, 12, 13
VOCABULARY = 40
BOXES = [torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]]), torch.tensor([[0.3, 0.1, 0.9, 0.4]])]
PATCHES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD,
}  # fmt: skip


def clip() -> tuple[PreTrainedConfig, dict[str, Any]]:
    return CLIPVisionConfig(**PATCHES), {}


def dinov2() -> tuple[PreTrainedConfig, dict[str, Any]]:
    return Dinov2Config(**PATCHES), {}


def vit() -> tuple[PreTrainedConfig, dict[str, Any]]:
    return ViTConfig(**PATCHES), {}


def siglip() -> tuple[PreTrainedConfig, dict[str, Any]]:
    return SiglipVisionConfig(**PATCHES), {"num_prefix_tokens": 0}


def resnet() -> tuple[PreTrainedConfig, dict[str, Any]]:
    vision = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16], depths=[1, 1, 1], layer_type="basic")
    levels = {"region_layers": [1, 2], "level_channels": [8, 12], "num_image_tokens": 4, "image_layer": -1}
    return vision, levels | {"num_prefix_tokens": 0}


def llama() -> PreTrainedConfig:
    return LlamaConfig(**TEXT)


def qwen2() -> PreTrainedConfig:
    return Qwen2Config(**TEXT, num_key_value_heads=1)


def gpt2() -> PreTrainedConfig:
    return GPT2Config(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=2, n_positions=128, bos_token_id=1, eos_token_id=2)


def small_config(tower: Callable[[], Any] = clip, text: Callable[[], Any] = llama) -> GPT4RoIConfig:
    vision, changes = tower()
    numbers: dict[str, Any] = {
        "region_layers": [-3, -2], "pyramid_sizes": [8, 4], "region_channels": 16, "region_dim": 12, "num_fusions": 2,
        "fusion_groups": 4, "roi_size": 3, "position_dim": 8, "image_size": 32, "num_image_tokens": 16,
        "image_token_id": IMAGE, "region_token_id": REGION, "image_start_token_id": START, "image_end_token_id": END,
    }  # fmt: skip
    return GPT4RoIConfig(vision_config=vision, text_config=text(), **(numbers | changes))


def make_model(*parts: Any, **options: Any) -> GPT4RoIForConditionalGeneration:
    torch.manual_seed(0)
    model: GPT4RoIForConditionalGeneration = AutoModelForCausalLM.from_config(small_config(*parts), **options)
    with torch.no_grad():  # transformers' start is so small that pictures and boxes would hardly move the logits
        for name, parameter in model.named_parameters():
            parameter.mul_(1 if name.startswith("vision_tower") else 3)
    model.eval()
    return model


def make_inputs(model: GPT4RoIForConditionalGeneration, counts: tuple[int, ...] = (2, 1)) -> dict[str, Any]:
    """A batch with so many regions in each row, padded on the left."""
    torch.manual_seed(2)
    start = [1, START, *[IMAGE] * model.config.num_image_tokens, END]
    rows = [[*start, *[REGION, 20 + index] * count] for index, count in enumerate(counts)]
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[PAD] * (longest - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
        "pixel_values": torch.randn(len(rows), 3, 32, 32),
        "boxes": [BOXES[index][:count] for index, count in enumerate(counts)],
    }


def one_row(inputs: dict[str, Any], row: int) -> dict[str, Any]:
    kept = inputs["attention_mask"][row].bool()
    return {
        "input_ids": inputs["input_ids"][row : row + 1, kept],
        "attention_mask": inputs["attention_mask"][row : row + 1, kept],
        "pixel_values": inputs["pixel_values"][row : row + 1],
        "boxes": inputs["boxes"][row : row + 1],
    }


def make_processor(config: GPT4RoIConfig) -> GPT4RoIProcessor:
    words = ["<unk>", "<s>", "</s>", "a", "is", "red", "ball", ".", "?", "[PAD]", "<im_patch>", "<bbox>"]
    words += ["<im_start>", "<im_end>"]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    register_special_tokens(tokenizer)
    return new_processor(config, tokenizer)
