"""A small model of the original package `segment-anything`: the oracle of ours."""

import warnings
from typing import Any

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer


def original_sam(*, side: int = 64, heads: int = 2) -> Any:
    """side: of the image in pixels.  heads: of the decoder, which has eight in the published files."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=side, patch_size=8, embed_dim=32, depth=3, num_heads=2, out_chans=16, use_rel_pos=True, window_size=4,
        global_attn_indexes=(1,), qkv_bias=True,
    )  # fmt: skip
    prompts = PromptEncoder(
        embed_dim=16, image_embedding_size=(side // 8, side // 8), input_image_size=(side, side), mask_in_chans=4
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=16, mlp_dim=32, num_heads=heads)
    model = Sam(encoder, prompts, MaskDecoder(transformer_dim=16, transformer=transformer, iou_head_hidden_dim=24)).eval()
    for name, parameter in model.named_parameters():
        if "pos" in name:  # the original starts them from zero
            torch.nn.init.normal_(parameter, std=0.1)
    return model
