"""The original Grounding DINO files (Swin-T and Swin-B): their names, and the configuration that follows from the shapes.

Facts from the package `groundingdino` 0.1 (arXiv 2303.05499), also the source of what shapes do not determine: four sampling
points per head, and 64 channels per head of the text encoder.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, GroundingDinoConfig, SwinConfig

from roi_agent.model.checkpoints.nametable import NameTable, Shape
from roi_agent.model.errors import CheckpointMismatch

MARK = "transformer.encoder.fusion_layers.0.gamma_v"  # a file with this name is one of these
NEEDLESS = {
    "label_enc.weight": "only training uses it",
    "bert.embeddings.position_ids": "it counts the positions",
    "bert.pooler.dense.weight": "nothing reads it",
    "bert.pooler.dense.bias": "nothing reads it",
    **{f"backbone.0.layers.{stage}.blocks.{block}.attn.relative_position_index": "it follows from the window"
       for stage in range(4) for block in range(18)},
}  # fmt: skip

_POINTS, _TEXT_HEAD = 4, 64
_QKV = ("query", "key", "value")
_DEFORMABLE = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")


def config_of(shapes: Mapping[str, Shape]) -> GroundingDinoConfig:
    """The configuration of a file's shapes. Raises KeyError, IndexError or ZeroDivisionError for other files."""
    levels, width = shapes["transformer.level_embed"]
    encoder, decoder = "transformer.encoder.layers.", "transformer.decoder.layers."
    return GroundingDinoConfig(
        backbone_config=_swin_config(shapes),
        text_config=_bert_config(shapes),
        d_model=width,
        num_feature_levels=levels,
        num_queries=shapes["transformer.tgt_embed.weight"][0],
        encoder_layers=_count(shapes, encoder),
        encoder_ffn_dim=shapes[f"{encoder}0.linear1.weight"][0],
        encoder_attention_heads=shapes[f"{encoder}0.self_attn.attention_weights.weight"][0] // (levels * _POINTS),
        encoder_n_points=_POINTS,
        decoder_layers=_count(shapes, decoder),
        decoder_ffn_dim=shapes[f"{decoder}0.linear1.weight"][0],
        decoder_attention_heads=shapes[f"{decoder}0.cross_attn.attention_weights.weight"][0] // (levels * _POINTS),
        decoder_n_points=_POINTS,
        decoder_bbox_embed_share=True,
        two_stage_bbox_embed_share=False,
    )


def name_table(config: Any) -> NameTable:
    """All tensors in a file of this configuration."""
    table = NameTable()
    width = config.d_model
    with table.under("backbone.0.", "model.backbone.conv_encoder.model."):
        _swin(table, config.backbone_config)
    with table.under("bert.", "model.text_backbone."):
        _bert(table, config.text_config)
    table.layer("feat_map", "model.text_projection", width, config.text_config.hidden_size)
    _projections(table, config)
    for index in range(config.encoder_layers):
        _encoder_layer(table, config, index)
    for index in range(config.decoder_layers):
        with table.under(f"transformer.decoder.layers.{index}.", f"model.decoder.layers.{index}."):
            _decoder_layer(table, config)
        for old, new in (("", ""), ("transformer.decoder.", "model.decoder.")):
            _box_head(table, f"{old}bbox_embed.{index}", f"{new}bbox_embed.{index}", width)
    table.tensor("transformer.level_embed", "model.level_embed", config.num_feature_levels, width)
    table.tensor("transformer.tgt_embed.weight", "model.query_position_embeddings.weight", config.num_queries, width)
    table.layer("transformer.decoder.norm", "model.decoder.layer_norm", width)
    head = "transformer.decoder.ref_point_head.layers", "model.decoder.reference_points_head.layers"
    table.layer(f"{head[0]}.0", f"{head[1]}.0", width, 2 * width)
    table.layer(f"{head[0]}.1", f"{head[1]}.1", width, width)
    table.layer("transformer.enc_output", "model.enc_output", width, width)
    table.layer("transformer.enc_output_norm", "model.enc_output_norm", width)
    _box_head(table, "transformer.enc_out_bbox_embed", "model.encoder_output_bbox_embed", width)
    return table


def check_shared(weights: Mapping[str, Tensor]) -> None:
    """Refuse a file whose decoder layers have different box heads: transformers has one for all."""
    for name, value in weights.items():
        _, found, rest = name.partition("bbox_embed.")
        if not found or name.startswith("transformer.enc_out"):
            continue
        first = f"bbox_embed.0.{rest.partition('.')[2]}"
        if not torch.equal(value, weights[first]):
            raise CheckpointMismatch(f"{name} differs from {first}; all layers of the decoder should share one box head")


def _swin_config(shapes: Mapping[str, Shape]) -> SwinConfig:
    blocks, mark = "backbone.0.layers.", "attn.relative_position_bias_table"
    width, _, patch, _ = shapes["backbone.0.patch_embed.proj.weight"]
    depths = [_count(shapes, f"{blocks}{stage}.blocks.") for stage in range(_count(shapes, blocks))]
    tables = [shapes[f"{blocks}{stage}.blocks.0.{mark}"] for stage in range(len(depths))]
    window = (isqrt(tables[0][0]) + 1) // 2
    stages: Any = {"out_features": [f"stage{i + 1}" for i in range(len(depths)) if f"backbone.0.norm{i}.weight" in shapes]}
    return SwinConfig(
        image_size=384 if window == 12 else 224,  # of its pre-training: nothing is computed from it
        patch_size=patch,
        embed_dim=width,
        depths=depths,
        num_heads=[heads for _, heads in tables],
        window_size=window,
        mlp_ratio=shapes[f"{blocks}0.blocks.0.mlp.fc1.weight"][0] / width,
        **stages,
    )


def _bert_config(shapes: Mapping[str, Shape]) -> BertConfig:
    words, width = shapes["bert.embeddings.word_embeddings.weight"]
    return BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=_count(shapes, "bert.encoder.layer."),
        num_attention_heads=max(1, width // _TEXT_HEAD),
        intermediate_size=shapes["bert.encoder.layer.0.intermediate.dense.weight"][0],
        max_position_embeddings=shapes["bert.embeddings.position_embeddings.weight"][0],
        type_vocab_size=shapes["bert.embeddings.token_type_embeddings.weight"][0],
    )


# Swin's new names are those of files on the hub; transformers converts them on loading.
def _swin(table: NameTable, swin: Any) -> None:
    table.layer("patch_embed.proj", "embeddings.patch_embeddings.projection", swin.embed_dim, 3, swin.patch_size, swin.patch_size)
    table.layer("patch_embed.norm", "embeddings.norm", swin.embed_dim)
    for stage, (depth, heads) in enumerate(zip(swin.depths, swin.num_heads, strict=True)):
        width = swin.embed_dim * 2**stage
        inner = int(width * swin.mlp_ratio)
        for block in range(depth):
            with table.under(f"layers.{stage}.blocks.{block}.", f"encoder.layers.{stage}.blocks.{block}."):
                table.layers({"norm1": "layernorm_before", "norm2": "layernorm_after"}, width)
                bias_table = "relative_position_bias_table"
                table.tensor(f"attn.{bias_table}", f"attention.self.{bias_table}", (2 * swin.window_size - 1) ** 2, heads)
                table.fused("attn.qkv", tuple(f"attention.self.{part}" for part in _QKV), width)
                table.layer("attn.proj", "attention.output.dense", width, width)
                table.layer("mlp.fc1", "intermediate.dense", inner, width)
                table.layer("mlp.fc2", "output.dense", width, inner)
        if stage + 1 < len(swin.depths):
            with table.under(f"layers.{stage}.downsample.", f"encoder.layers.{stage}.downsample."):
                table.tensor("reduction.weight", "reduction.weight", 2 * width, 4 * width)
                table.layer("norm", "norm", 4 * width)
        if stage + 1 in swin.out_indices:
            table.layer(f"norm{stage}", f"hidden_states_norms.stage{stage + 1}", width)


def _bert(table: NameTable, bert: Any) -> None:
    width, inner = bert.hidden_size, bert.intermediate_size
    rows = {"word": bert.vocab_size, "position": bert.max_position_embeddings, "token_type": bert.type_vocab_size}
    for name, number in rows.items():
        table.tensor(f"embeddings.{name}_embeddings.weight", f"embeddings.{name}_embeddings.weight", number, width)
    table.layer("embeddings.LayerNorm", "embeddings.LayerNorm", width)
    for index in range(bert.num_hidden_layers):
        with table.under(f"encoder.layer.{index}.", f"encoder.layer.{index}."):
            table.layers(
                {name: name for name in (*(f"attention.self.{part}" for part in _QKV), "attention.output.dense")}, width, width
            )
            table.layers({name: name for name in ("attention.output.LayerNorm", "output.LayerNorm")}, width)
            table.layer("intermediate.dense", "intermediate.dense", inner, width)
            table.layer("output.dense", "output.dense", width, inner)


def _projections(table: NameTable, config: Any) -> None:
    """Projections of the backbone's maps to one width; further levels are strided convolutions of the last map."""
    swin = config.backbone_config
    channels = [swin.embed_dim * 2 ** (stage - 1) for stage in swin.out_indices]
    for level in range(config.num_feature_levels):
        with table.under(f"input_proj.{level}.", f"model.input_proj_vision.{level}."):
            if level < len(channels):
                table.layer("0", "0", config.d_model, channels[level], 1, 1)
            else:
                table.layer("0", "0", config.d_model, channels[-1] if level == len(channels) else config.d_model, 3, 3)
            table.layer("1", "1", config.d_model)


def _encoder_layer(table: NameTable, config: Any, index: int) -> None:
    width, inner, half = config.d_model, config.encoder_ffn_dim, config.encoder_ffn_dim // 2
    new = f"model.encoder.layers.{index}."
    with table.under(f"transformer.encoder.layers.{index}.", f"{new}deformable_layer."):
        _deformable(table, "self_attn", "self_attn", width, config.encoder_attention_heads * config.num_feature_levels)
        table.layers({"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}, width)
        table.layer("linear1", "fc1", inner, width)
        table.layer("linear2", "fc2", width, inner)
    with table.under(f"transformer.encoder.text_layers.{index}.", f"{new}text_enhancer_layer."):
        _attention(table, "self_attn", "self_attn", width)
        table.layers({"norm1": "layer_norm_before", "norm2": "layer_norm_after"}, width)
        table.layer("linear1", "fc1", half, width)
        table.layer("linear2", "fc2", width, half)
    with table.under(f"transformer.encoder.fusion_layers.{index}.", f"{new}fusion_layer."):
        table.layers({"layer_norm_v": "layer_norm_vision", "layer_norm_l": "layer_norm_text"}, width)
        for letter, name in (("v", "vision"), ("l", "text")):
            table.tensor(f"gamma_{letter}", f"{name}_param", width)
            inward = {f"attn.{letter}_proj": f"attn.{name}_proj", f"attn.values_{letter}_proj": f"attn.values_{name}_proj"}
            table.layers(inward, half, width)
            table.layer(f"attn.out_{letter}_proj", f"attn.out_{name}_proj", width, half)


def _decoder_layer(table: NameTable, config: Any) -> None:
    width = config.d_model
    _attention(table, "self_attn", "self_attn", width)
    _attention(table, "ca_text", "encoder_attn_text", width)
    _deformable(table, "cross_attn", "encoder_attn", width, config.decoder_attention_heads * config.num_feature_levels)
    norms = {"norm1": "encoder_attn", "norm2": "self_attn", "norm3": "final", "catext_norm": "encoder_attn_text"}
    table.layers({old: f"{new}_layer_norm" for old, new in norms.items()}, width)
    table.layer("linear1", "fc1", config.decoder_ffn_dim, width)
    table.layer("linear2", "fc2", width, config.decoder_ffn_dim)


def _attention(table: NameTable, old: str, new: str, width: int) -> None:
    table.fused(f"{old}.in_proj", tuple(f"{new}.{part}" for part in _QKV), width, joint="_")
    table.layer(f"{old}.out_proj", f"{new}.out_proj", width, width)


def _deformable(table: NameTable, old: str, new: str, width: int, maps: int) -> None:
    """maps: heads times levels."""
    for name, rows in zip(_DEFORMABLE, (2 * maps * _POINTS, maps * _POINTS, width, width), strict=True):
        table.layer(f"{old}.{name}", f"{new}.{name}", rows, width)


def _box_head(table: NameTable, old: str, new: str, width: int) -> None:
    for index, rows in enumerate((width, width, 4)):
        table.layer(f"{old}.layers.{index}", f"{new}.layers.{index}", rows, width)


def _count(shapes: Mapping[str, Shape], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
