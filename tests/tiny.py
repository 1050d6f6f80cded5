"""Tiny random detectors and segmenters of the real transformers classes, and their processors."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SamProcessor,
)

WORDS = ("red", "blue", "star", "umbrella", "the", "large", "a")


def bert_tokenizer(folder: Path) -> Any:
    """A word-level BERT tokenizer that keeps the ids Grounding DINO takes as delimiters: 101, 102, 1012, 1029."""
    words = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    words |= {1030 + i: word for i, word in enumerate(WORDS)}
    file = folder / "vocab.txt"
    file.write_text("\n".join(words.get(i, f"[unused{i}]") for i in range(1100)) + "\n")
    return transformers.BertTokenizer(str(file))


def grounding_dino(folder: Path, *, mm: bool = False, seed: int = 0) -> tuple[Any, Any]:
    """Model and processor: 0.4 M parameters, 20 queries, 128 px."""
    torch.manual_seed(seed)
    backbone = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    }
    text = {"model_type": "bert", "vocab_size": 1100, "hidden_size": 32, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "intermediate_size": 64}
    options: dict[str, Any] = {"backbone_config": backbone, "text_config": text, "d_model": 32, "num_queries": 20}
    options |= {"max_text_len": 32, "disable_custom_kernels": True}
    for part in ("encoder", "decoder"):
        options |= {f"{part}_layers": 2, f"{part}_attention_heads": 4, f"{part}_ffn_dim": 64}
    if mm:
        model: Any = MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**options))
    else:
        model = GroundingDinoForObjectDetection(GroundingDinoConfig(**options))
    images = GroundingDinoImageProcessor(size={"height": 128, "width": 128})
    return model, GroundingDinoProcessor(images, bert_tokenizer(folder))


def owlv2(folder: Path) -> tuple[Any, Any]:
    """Model and processor, 64 px."""
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    ids = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": 0}
    config = Owlv2Config(
        text_config={**tower, **ids, "vocab_size": len(tokens)},
        vision_config={**tower, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!")
    images = Owlv2ImageProcessor(size={"height": 64, "width": 64})
    return Owlv2ForObjectDetection(config).eval(), Owlv2Processor(images, tokenizer)


def sam(*, seed: int = 0) -> tuple[Any, Any]:
    """Model and processor of SAM, 64 px, 8 x 8 patches."""
    torch.manual_seed(seed)
    vision: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64}
    vision |= {"image_size": 64, "patch_size": 8, "output_channels": 16, "num_pos_feats": 8, "initializer_range": 0.02}
    vision |= {"window_size": 4, "global_attn_indexes": [1]}
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4, "image_embedding_size": 8}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)).eval()
    images = SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 32},
        mask_pad_size={"height": 32, "width": 32},
    )  # fmt: skip
    return model, SamProcessor(images)


def sam2() -> tuple[Any, Any]:
    """Model and processor of SAM 2, 64 px."""
    torch.manual_seed(0)
    hiera: dict[str, Any] = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1}
    hiera |= {"image_size": [64, 64], "blocks_per_stage": [1, 1, 1, 1], "embed_dim_per_stage": [8, 16, 32, 64]}
    hiera |= {"num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 4, 4, 2]}
    hiera |= {"global_attention_blocks": [], "window_positional_embedding_background_size": [4, 4]}
    vision = {"backbone_config": hiera, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 16}
    vision |= {"backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    images = Sam2ImageProcessor(size={"height": 64, "width": 64}, mask_size={"height": 16, "width": 16})
    return Sam2Model(config).eval(), Sam2Processor(images)
