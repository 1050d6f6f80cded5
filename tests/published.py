"""Small checkpoints in the naming and layout of the published GPT4RoI, written from the facts of the release.

The names stand here once more, apart from the product's own table, so that the two can disagree.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast

ROWS, BASE_ROWS = 32006, 32000
TOKENS = ("[PAD]", "<im_patch>", "<bbox>", "<point>", "<im_start>", "<im_end>")
WITHOUT_POINT = tuple(token for token in TOKENS if token != "<point>")
VISION = CLIPVisionConfig(
    hidden_size=8, intermediate_size=8, num_hidden_layers=11, num_attention_heads=2, image_size=32, patch_size=8, projection_dim=8
)


def llama_shapes(rows: int, hidden: int = 16, layers: int = 2, intermediate: int = 24) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a LLaMA."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, hidden), "model.norm.weight": (hidden,)}
    for index in range(layers):
        layer = f"model.layers.{index}."
        shapes |= {f"{layer}self_attn.{each}_proj.weight": (hidden, hidden) for each in "qkvo"}
        shapes |= {f"{layer}mlp.{each}_proj.weight": (intermediate, hidden) for each in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, intermediate)
        shapes |= {f"{layer}{each}_layernorm.weight": (hidden,) for each in ("input", "post_attention")}
    return shapes | {"lm_head.weight": (rows, hidden)}


def region_shapes(hidden: int = 16, channels: int = 16, dim: int = 12, roi: int = 3) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the projector and the region encoder: 4 levels, 5 fusions."""
    spi, vision = "model.spi_module.", VISION.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"model.mm_projector.weight": (hidden, vision), "model.mm_projector.bias": (hidden,)}
    for level in range(4):
        shapes[f"{spi}mlvl_fuse.input_conv.{level}.weight"] = (channels, vision + 2, 1, 1)
        shapes[f"{spi}mlvl_fuse.input_conv.{level}.bias"] = (channels,)
        shapes[f"{spi}roi_align.pconvs.{level}.weight"] = (channels, channels, 3, 3)
        shapes[f"{spi}roi_align.pconvs.{level}.bias"] = (channels,)
    for index in range(5):
        shapes[f"{spi}mlvl_fuse.fuse_convs.{index}.conv.weight"] = (channels, channels, 3, 3)
        shapes |= {f"{spi}mlvl_fuse.fuse_convs.{index}.gn.{each}": (channels,) for each in ("weight", "bias")}
    ends = {"pos_embedd.0": (8, 4), "pos_embedd.3": (dim, 8), "updims": (hidden, dim), "flatten_linear": (dim, channels * roi**2)}
    for name, shape in ends.items():
        shapes |= {f"{spi}roi_align.{name}.weight": shape, f"{spi}roi_align.{name}.bias": shape[:1]}
    for index, width in ((2, 8), (5, dim)):
        shapes |= {f"{spi}roi_align.pos_embedd.{index}.{each}": (width,) for each in ("weight", "bias")}
    return shapes


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: (0.1 * torch.randn(shape, generator=generator)).to(dtype) for name, shape in shapes.items()}


def llama_config(rows: int, hidden: int = 16, layers: int = 2, intermediate: int = 24) -> dict[str, Any]:
    """config.json as LLaMA checkpoints of the time had it."""
    return {
        "architectures": ["SomeForCausalLM"],
        "model_type": "llava",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "rms_norm_eps": 1e-6,
        "vocab_size": rows,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": -1,
        "mm_vision_tower": "openai/clip-vit-large-patch14",
    }


def write_checkpoint(
    folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], *, format: str = "bin", shards: int = 1
) -> Path:
    """format: bin or safetensors.  shards: 1 for a single file, more for an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    stem, ending = ("pytorch_model", "bin") if format == "bin" else ("model", "safetensors")
    names = sorted(weights)
    index: dict[str, str] = {}
    for shard in range(shards):
        file = f"{stem}.{ending}" if shards == 1 else f"{stem}-{shard + 1:05d}-of-{shards:05d}.{ending}"
        part = {name: weights[name].clone() for name in names[shard::shards]}
        index |= dict.fromkeys(part, file)
        torch.save(part, folder / file) if format == "bin" else save_file(part, folder / file)
    if shards > 1:
        (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def write_tower(folder: Path) -> Path:
    """The vision tower, as transformers writes it."""
    torch.manual_seed(3)
    CLIPVisionModel(VISION).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, tokens: tuple[str, ...] = TOKENS, *, special: bool = True, words: int = 32000) -> Path:
    """A tokenizer of so many words and then our tokens. special: whether it knows that they are special."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {chr(index + 30): index for index in range(3, 90)}
    vocabulary |= {f"word{index}": index for index in range(90, words)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    if tokens:
        tokenizer.add_tokens(list(tokens), special_tokens=special)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Release:
    """The pieces of a release: weights in memory, tower and tokenizer on disk."""

    merged: dict[str, Tensor]
    base: dict[str, Tensor]
    tower: Path
    tokenizer: Path

    @classmethod
    def make(cls, root: Path) -> "Release":
        merged = random_weights(llama_shapes(ROWS) | region_shapes(), seed=1)
        base = random_weights(llama_shapes(BASE_ROWS), seed=2)
        return cls(merged, base, write_tower(root / "tower"), write_tokenizer(root / "tokenizer"))

    def write(self, folder: Path, weights: dict[str, Tensor] | None = None, rows: int = ROWS, **options: Any) -> Path:
        return write_checkpoint(folder, weights or self.merged, llama_config(rows), **options)

    def write_base(self, folder: Path, **options: Any) -> Path:
        return write_checkpoint(folder, self.base, llama_config(BASE_ROWS), **options)

    def copy_tokenizer(self, folder: Path) -> None:
        for file in self.tokenizer.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
