"""The original SAM files (sam_vit_b, sam_vit_l, sam_vit_h): their names, and the configuration that follows from the shapes.

Facts from the package `segment-anything` 1.0 (arXiv 2304.02643), also the source of what shapes do not determine:
the decoder's eight heads.
"""

from collections.abc import Mapping
from typing import Any

from transformers import SamConfig, SamImageProcessor, SamMaskDecoderConfig, SamProcessor, SamPromptEncoderConfig, SamVisionConfig

from roi_agent.model.checkpoints.nametable import NameTable, Shape

MARK = "image_encoder.patch_embed.proj.weight"  # a file with this name is one of these
NEEDLESS = {"pixel_mean": "it is a constant of the processor", "pixel_std": "it is a constant of the processor"}

_DECODER_HEADS = 8
_ATTENTION = {part: part for part in ("q_proj", "k_proj", "v_proj")}


def config_of(shapes: Mapping[str, Shape]) -> SamConfig:
    """The configuration of a file's shapes. Raises KeyError, IndexError or ZeroDivisionError for other files."""
    width, _, patch, _ = shapes[MARK]
    grid = shapes["image_encoder.pos_embed"][1]
    positions = [shapes[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in range(_count(shapes, "image_encoder.blocks."))]
    windows = [(rows + 1) // 2 for rows, _ in positions]
    hidden = shapes["image_encoder.neck.0.weight"][0]
    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=hidden,
        num_hidden_layers=len(windows),
        num_attention_heads=width // positions[0][1],
        image_size=grid * patch,
        patch_size=patch,
        mlp_dim=shapes["image_encoder.blocks.0.mlp.lin1.weight"][0],
        mlp_ratio=shapes["image_encoder.blocks.0.mlp.lin1.weight"][0] / width,
        window_size=min(windows),
        global_attn_indexes=[index for index, window in enumerate(windows) if window == grid],
        num_pos_feats=hidden // 2,
    )
    prompts = SamPromptEncoderConfig(
        hidden_size=hidden,
        image_size=grid * patch,
        patch_size=patch,
        mask_input_channels=shapes["prompt_encoder.mask_downscaling.3.weight"][0],
        num_point_embeddings=_count(shapes, "prompt_encoder.point_embeddings."),
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=hidden,
        mlp_dim=shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        num_hidden_layers=_count(shapes, "mask_decoder.transformer.layers."),
        num_attention_heads=_DECODER_HEADS,
        attention_downsample_rate=hidden // shapes["mask_decoder.transformer.final_attn_token_to_image.q_proj.weight"][0],
        num_multimask_outputs=shapes["mask_decoder.mask_tokens.weight"][0] - 1,
        iou_head_depth=_count(shapes, "mask_decoder.iou_prediction_head.layers."),
        iou_head_hidden_dim=shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)


def name_table(config: Any) -> NameTable:
    """All tensors in a file of this configuration."""
    table = NameTable()
    with table.under("image_encoder.", "vision_encoder."):
        _vision(table, config.vision_config)
    with table.under("prompt_encoder.", "prompt_encoder."):
        _prompts(table, config.prompt_encoder_config)
    with table.under("mask_decoder.", "mask_decoder."):
        _decoder(table, config.mask_decoder_config)
    return table


def processor_of(config: Any) -> SamProcessor:
    """The processor of a configuration; a mask prompt is a quarter of the image's size."""
    side = config.vision_config.image_size
    mask = 4 * (side // config.vision_config.patch_size)
    images = SamImageProcessor(
        size={"longest_edge": side},
        pad_size={"height": side, "width": side},
        mask_size={"longest_edge": mask},
        mask_pad_size={"height": mask, "width": mask},
    )
    return SamProcessor(images)


def _vision(table: NameTable, vision: Any) -> None:
    width, grid, out = vision.hidden_size, vision.image_size // vision.patch_size, vision.output_channels
    table.tensor("pos_embed", "pos_embed", 1, grid, grid, width)
    table.layer("patch_embed.proj", "patch_embed.projection", width, 3, vision.patch_size, vision.patch_size)
    for index in range(vision.num_hidden_layers):
        rows = 2 * (grid if index in vision.global_attn_indexes else vision.window_size) - 1
        with table.under(f"blocks.{index}.", f"layers.{index}."):
            table.layers({"norm1": "layer_norm1", "norm2": "layer_norm2"}, width)
            for axis in "hw":
                table.tensor(f"attn.rel_pos_{axis}", f"attn.rel_pos_{axis}", rows, width // vision.num_attention_heads)
            table.layer("attn.qkv", "attn.qkv", 3 * width, width)
            table.layer("attn.proj", "attn.proj", width, width)
            table.layer("mlp.lin1", "mlp.lin1", vision.mlp_dim, width)
            table.layer("mlp.lin2", "mlp.lin2", width, vision.mlp_dim)
    table.tensor("neck.0.weight", "neck.conv1.weight", out, width, 1, 1)
    table.tensor("neck.2.weight", "neck.conv2.weight", out, out, 3, 3)
    table.layers({"neck.1": "neck.layer_norm1", "neck.3": "neck.layer_norm2"}, out)


def _prompts(table: NameTable, prompts: Any) -> None:
    hidden, masks = prompts.hidden_size, prompts.mask_input_channels
    positions = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
    table.copied("pe_layer.positional_encoding_gaussian_matrix", positions, 2, hidden // 2)
    for index in range(prompts.num_point_embeddings):
        table.tensor(f"point_embeddings.{index}.weight", f"point_embed.{index}.weight", 1, hidden)
    for name in ("not_a_point_embed.weight", "no_mask_embed.weight"):
        table.tensor(name, name, 1, hidden)
    table.layer("mask_downscaling.0", "mask_embed.conv1", masks // 4, 1, 2, 2)
    table.layer("mask_downscaling.1", "mask_embed.layer_norm1", masks // 4)
    table.layer("mask_downscaling.3", "mask_embed.conv2", masks, masks // 4, 2, 2)
    table.layer("mask_downscaling.4", "mask_embed.layer_norm2", masks)
    table.layer("mask_downscaling.6", "mask_embed.conv3", hidden, masks, 1, 1)


def _decoder(table: NameTable, decoder: Any) -> None:
    hidden, masks = decoder.hidden_size, decoder.num_multimask_outputs + 1
    small = hidden // decoder.attention_downsample_rate
    table.tensor("iou_token.weight", "iou_token.weight", 1, hidden)
    table.tensor("mask_tokens.weight", "mask_tokens.weight", masks, hidden)
    for index in range(decoder.num_hidden_layers):
        with table.under(f"transformer.layers.{index}.", f"transformer.layers.{index}."):
            table.layers({f"norm{n}": f"layer_norm{n}" for n in range(1, 5)}, hidden)
            _attention(table, "self_attn", hidden, hidden)
            _attention(table, "cross_attn_token_to_image", hidden, small)
            _attention(table, "cross_attn_image_to_token", hidden, small)
            table.layer("mlp.lin1", "mlp.lin1", decoder.mlp_dim, hidden)
            table.layer("mlp.lin2", "mlp.lin2", hidden, decoder.mlp_dim)
    _attention(table, "transformer.final_attn_token_to_image", hidden, small)
    table.layer("transformer.norm_final_attn", "transformer.layer_norm_final_attn", hidden)
    table.layer("output_upscaling.0", "upscale_conv1", hidden, hidden // 4, 2, 2, bias=hidden // 4)
    table.layer("output_upscaling.1", "upscale_layer_norm", hidden // 4)
    table.layer("output_upscaling.3", "upscale_conv2", hidden // 4, hidden // 8, 2, 2, bias=hidden // 8)
    for index in range(masks):
        _mlp(table, f"output_hypernetworks_mlps.{index}", (hidden, hidden, hidden, hidden // 8))
    inner = decoder.iou_head_hidden_dim
    _mlp(table, "iou_prediction_head", (hidden, *(inner,) * (decoder.iou_head_depth - 1), masks))


def _attention(table: NameTable, name: str, width: int, inner: int) -> None:
    with table.under(f"{name}.", f"{name}."):
        table.layers(_ATTENTION, inner, width)
        table.layer("out_proj", "out_proj", width, inner)


def _mlp(table: NameTable, name: str, widths: tuple[int, ...]) -> None:
    """Layers 0, 1, ... of the file; transformers names the first and the last differently."""
    last = len(widths) - 2
    for index in range(last + 1):
        new = {0: "proj_in", last: "proj_out"}.get(index, f"layers.{index - 1}")
        table.layer(f"{name}.layers.{index}", f"{name}.{new}", widths[index + 1], widths[index])


def _count(shapes: Mapping[str, Shape], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
