"""The training of the nano Grounding DINO: configuration, vocabulary and initial weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    ResNetConfig,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]

from roi_agent.model.toy.questions.phrases import words
from roi_agent.model.toy.samples.phrases import PromptedBatch, PromptedDataset, PromptedSample, collate_prompted
from roi_agent.model.toy.train.detection_loss import detection_loss
from roi_agent.model.toy.train.domain import fit_domain
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.train.trainee import Trainee
from roi_agent.model.train.task import Metrics

REGION_MODEL = Path(__file__).parents[2] / "nano" / "model.safetensors"  # source of the vision tower
_KNOWN = "nano knows only the rendered scenes of the toy world"
_IMAGE_SIZE = 128  # pixels; what the vision tower was trained on
_TOWER, _BACKBONE = "vision_tower.", "model.backbone.conv_encoder.model."
# BERT's ids, by which the architecture detects the end of a phrase.
_FIXED = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
_VOCABULARY = 1152
_THRESHOLD = 0.4  # score of a detection; absent things seldom reach it


class DetectorTrainee(Trainee):
    """A small Grounding DINO on the trained vision tower of the nano region model."""

    metrics = ("tokens", "box", "cell", "false")
    bar_metrics = ("loss", "tokens", "box", "cell")

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        self.processor = new_detector_processor()
        self.model: GroundingDinoForObjectDetection = GroundingDinoForObjectDetection(detector_config())
        take_tower(self.model, REGION_MODEL)
        quieten(self.model)

    def dataset(self, phase: PhaseSettings, first: int) -> PromptedDataset:
        """Scenes with prompts of up to `questions` phrases, or of the whole vocabulary."""
        most = 0 if phase.objective == "vocabulary" else phase.questions
        return PromptedDataset(self.processor, size=phase.steps * phase.scenes, first=first, most=most)

    def collate(self, samples: Sequence[PromptedSample]) -> PromptedBatch:
        """Samples -> one batch."""
        return collate_prompted(samples, pad_id=self.processor.tokenizer.pad_token_id)

    def loss(self, phase: PhaseSettings, batch: PromptedBatch) -> tuple[Tensor, Metrics]:
        """The detector's loss, the same for all objectives."""
        return detection_loss(self.model, batch)

    def save(self, target: Path) -> None:
        """Save model, processor and domain."""
        self.model.eval().save_pretrained(target)
        self.processor.save_pretrained(target)
        fit_domain(known=_KNOWN).save(target)


def detector_config() -> GroundingDinoConfig:
    """A small Grounding DINO: the region model's first three stages, a BERT, an encoder and a decoder of two layers each."""
    backbone = ResNetConfig(embedding_size=32, hidden_sizes=[48, 96, 160], depths=[1, 2, 2], layer_type="basic")
    backbone.set_output_features_output_indices(out_features=["stage2", "stage3"], out_indices=None)
    text = BertConfig(
        vocab_size=_VOCABULARY,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        num_feature_levels=2,
        num_queries=40,
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        encoder_n_points=2,
        decoder_n_points=2,
        dropout=0.0,
        fusion_droppath=0.0,
        init_std=0.08,  # about 1 / sqrt(d_model): at the usual 0.02 a model this narrow hardly learns
        disable_custom_kernels=True,
    )
    config.update({"detection_threshold": _THRESHOLD})
    return config


def new_detector_processor() -> GroundingDinoProcessor:
    """A processor with square images and a tokenizer of whole toy-world words; all others are [UNK]."""
    size = {"height": _IMAGE_SIZE, "width": _IMAGE_SIZE}
    images = GroundingDinoImageProcessor(size=size, image_mean=OPENAI_CLIP_MEAN, image_std=OPENAI_CLIP_STD)
    named = {**_FIXED, **dict(enumerate(words(), max(_FIXED) + 1))}
    assert max(named) < _VOCABULARY
    vocabulary = {named.get(index, f"[unused{index}]"): index for index in range(_VOCABULARY)}
    return GroundingDinoProcessor(images, BertTokenizer(vocab=vocabulary))


def take_tower(model: GroundingDinoForObjectDetection, weights: Path) -> None:
    """Copy the vision tower of a nano region model to the backbone, without the unused last stage."""
    own = {name for name, _ in (*model.named_parameters(), *model.named_buffers()) if name.startswith(_BACKBONE)}
    with safe_open(weights, "pt") as file:
        names = {_BACKBONE + name.removeprefix(_TOWER): name for name in file.keys() if name.startswith(_TOWER)}  # noqa: SIM118
        part = {name: file.get_tensor(names[name]) for name in own}
    model.load_state_dict(part, strict=False)


@torch.no_grad()
def quieten(model: GroundingDinoForObjectDetection) -> None:
    """Initialise all scores near 0.05, with short, opposite text and image vectors.

    Both end in layer norms, so their products would start with a standard deviation of sqrt(d_model), which training would have
    to unlearn.
    """
    apart = (3.0 / model.config.d_model) ** 0.5
    text = model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    for norm, sign in ((text, 1), (model.model.enc_output_norm, -1), (model.model.decoder.layer_norm, -1)):
        norm.weight.fill_(0.3)
        norm.bias.fill_(sign * apart)
