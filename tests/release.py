"""The tokenizer of a small release: a SentencePiece vocabulary with byte fallback, in each form in which one is kept.

And a tiny LLaMA that writes after each token one that is told, so that what it says is known.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlamaTokenizer, PreTrainedTokenizerBase

from roi_agent.model import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from roi_agent.model.checkpoints.vocabulary import load_tokenizer
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.gpt4roi.processing import new_processor, register_special_tokens
from tests.small import PATCHES

TOKENS = ("[PAD]", "<im_patch>", "<bbox>", "<point>", "<im_start>", "<im_end>")
FORMS = ("tokenizer.model", "tokenizer.json", "tokenizer.json, newer")
_SENTENCES = (
    "A chat between a curious human and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the human's questions.",
    "Human: The picture provides an overview of the picture. What is region1 ? There are region1 , region2 . Is it ?",
    "### Human: dog ### Assistant: cat ### dogs #### a red dog , a cat . ## # ## # dog dog red red",
    "user assistant system",
)
_PREPENDED = {
    "type": "Sequence",
    "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}],
}


def train(folder: Path) -> Path:
    """Write `tokenizer.model` with the pieces `##`, `###` at a word's beginning and no line break, as LLaMA's."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 50),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=450,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    return folder / "tokenizer.model"


def write_tokenizer(folder: Path, form: str, tokens: Sequence[str] = TOKENS) -> sentencepiece.SentencePieceProcessor:
    """A tokenizer with these added tokens after its pieces, in one of the forms.  Returns what reads the pieces themselves.

    Newer and older `tokenizer.json` differ in who writes the space before a text: `Metaspace`, at the first of several stretches
    only, or the normalizer, at each.
    """
    model = train(folder)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ids = {token: pieces.get_piece_size() + place for place, token in enumerate(tokens)}
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    if form != "tokenizer.model":
        backend = LlamaTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
        content = json.loads(backend.to_str())
        for token in content["added_tokens"]:
            token["normalized"] = False
        if form == "tokenizer.json":
            content |= {"pre_tokenizer": None, "normalizer": _PREPENDED}
        (folder / "tokenizer.json").write_text(json.dumps(content))
        named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(named))
        (folder / "added_tokens.json").unlink()
        model.unlink()
    return pieces


def make_processor(tokenizer: PreTrainedTokenizerBase, prompt: str = "published") -> GPT4RoIProcessor:
    return new_processor(_config(tokenizer, prompt), tokenizer)


def load_processor(folder: Path, prompt: str = "published") -> GPT4RoIProcessor:
    """The processor with the tokenizer of a folder, as a conversion makes it."""
    tokenizer = load_tokenizer([folder])
    register_special_tokens(tokenizer)
    tokenizer.pad_token = "[PAD]"
    return make_processor(tokenizer, prompt)


def chain(processor: GPT4RoIProcessor, steps: Mapping[str, Mapping[str, float]]) -> LocalRegionModel:
    """A region model whose next token depends on the last one alone.

    steps: after each token the probabilities of the next ones; the others share what is left.
    """
    tokenizer = processor.tokenizer
    config = _config(tokenizer, processor.prompt)
    torch.manual_seed(0)
    model = GPT4RoIForConditionalGeneration(config).eval()
    size, language = config.vocab_size, model.language_model
    logits = torch.zeros(size, size)
    for last, following in steps.items():
        rest = (1 - sum(following.values())) / (size - len(following))
        column = torch.full((size,), rest)
        for token, probability in following.items():
            column[_id(tokenizer, token)] = probability
        logits[:, _id(tokenizer, last)] = column.log()
    with torch.no_grad():
        for layer in language.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        language.model.embed_tokens.weight.copy_(torch.eye(size))
        language.lm_head.weight.copy_(logits / size**0.5)
    return LocalRegionModel(model, processor)


def _id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    found = tokenizer.get_vocab()[token]
    assert isinstance(found, int)
    return found


def _config(tokenizer: PreTrainedTokenizerBase, prompt: str) -> GPT4RoIConfig:
    size = len(tokenizer)
    width = size + size % 2
    assert width == size, "the heads of the attention share the width"
    text: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": _id(tokenizer, "[PAD]")}
    return GPT4RoIConfig(
        vision_config=CLIPVisionConfig(**PATCHES),
        text_config=LlamaConfig(
            vocab_size=size,
            hidden_size=size,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            rms_norm_eps=1e-12,
            **text,
        ),
        region_layers=[-3, -2],
        pyramid_sizes=[8, 4],
        region_channels=16,
        region_dim=12,
        num_fusions=2,
        fusion_groups=4,
        roi_size=3,
        position_dim=8,
        image_size=32,
        num_image_tokens=16,
        image_token_id=_id(tokenizer, "<im_patch>"),
        region_token_id=_id(tokenizer, "<bbox>"),
        image_start_token_id=_id(tokenizer, "<im_start>"),
        image_end_token_id=_id(tokenizer, "<im_end>"),
        prompt=prompt,
    )
