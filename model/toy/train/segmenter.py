"""The training of the nano SAM: configuration, processor and initial weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from roi_agent.model.toy.samples.prompts import PointedBatch, PointedDataset, PointedSample, collate_pointed
from roi_agent.model.toy.train.domain import fit_domain
from roi_agent.model.toy.train.segmentation_loss import boxes_loss, prompts_loss
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.train.trainee import Trainee
from roi_agent.model.train.task import Metrics

_KNOWN = "nano knows only the rendered scenes of the toy world"
_IMAGE_SIZE, _PATCH_SIZE = 128, 8  # pixels
_ENCODER_WIDTH, _WIDTH = 128, 96  # an image is encoded once, and decoded for every prompt


class SegmenterTrainee(Trainee):
    """A small SAM, trained from scratch."""

    metrics = ("box", "point", "points", "both", "refined")
    bar_metrics = ("box", "point")

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        self.processor = new_segmenter_processor()
        self.model: SamModel = new_segmenter()

    def dataset(self, phase: PhaseSettings, first: int) -> PointedDataset:
        """Scenes with `questions` prompts each."""
        return PointedDataset(self.processor, size=phase.steps * phase.scenes, first=first, prompts=phase.questions)

    def collate(self, samples: Sequence[PointedSample]) -> PointedBatch:
        """Samples -> one batch."""
        return collate_pointed(samples)

    def loss(self, phase: PhaseSettings, batch: PointedBatch) -> tuple[Tensor, Metrics]:
        """The loss from boxes alone, or from all kinds of prompts; metrics are IoUs of the masks with the best predicted IoU."""
        return (boxes_loss if phase.objective == "boxes" else prompts_loss)(self.model, batch)

    def save(self, target: Path) -> None:
        """Save model, processor and domain."""
        self.model.eval().save_pretrained(target)
        self.processor.save_pretrained(target)
        fit_domain(known=_KNOWN).save(target)


def segmenter_config() -> SamConfig:
    """A small SAM: 16 x 16 patches, four layers with windows in every second one, masks of 64 x 64."""
    vision = SamVisionConfig(
        hidden_size=_ENCODER_WIDTH,
        output_channels=_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=_IMAGE_SIZE,
        patch_size=_PATCH_SIZE,
        mlp_ratio=4.0,
        use_rel_pos=False,
        window_size=8,
        global_attn_indexes=[1, 3],
        num_pos_feats=_WIDTH // 2,
        initializer_range=0.06,  # about 1 / sqrt(width) / 1.5: at the usual 1e-10 the model never learns
    )
    prompts = SamPromptEncoderConfig(hidden_size=_WIDTH, image_size=_IMAGE_SIZE, patch_size=_PATCH_SIZE)
    decoder = SamMaskDecoderConfig(hidden_size=_WIDTH, mlp_dim=192, num_attention_heads=4, iou_head_hidden_dim=96)
    return SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder, initializer_range=0.06)


@torch.no_grad()
def new_segmenter() -> SamModel:
    """A model initialised for training: smooth position encodings and distinct tokens.

    transformers initialises both for weights to be loaded: positions at a scale at which neighbouring points are unrelated,
    and tokens so small that they are nearly equal.
    """
    model = SamModel(segmenter_config())
    model.shared_image_embedding.positional_embedding.normal_(std=1.0)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_(std=0.7)
    model.prompt_encoder.no_mask_embed.weight.zero_()
    assert model.vision_encoder.pos_embed is not None
    model.vision_encoder.pos_embed.normal_(std=0.06)
    return model


def new_segmenter_processor() -> SamProcessor:
    """A processor that fits the longer side to a fixed square and pads the rest."""
    masks = 4 * _IMAGE_SIZE // _PATCH_SIZE
    images = SamImageProcessor(
        size={"longest_edge": _IMAGE_SIZE},
        pad_size={"height": _IMAGE_SIZE, "width": _IMAGE_SIZE},
        mask_size={"longest_edge": masks},
        mask_pad_size={"height": masks, "width": masks},
    )
    return SamProcessor(images)
