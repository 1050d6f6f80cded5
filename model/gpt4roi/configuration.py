"""The configuration of GPT4RoI: a vision tower, a region encoder and a language model of any size.

Each number that a checkpoint fixes appears here once; derived numbers are properties.
"""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPVisionConfig, LlamaConfig, PreTrainedConfig, ResNetConfig
from transformers.configuration_utils import SubConfigSpec

from roi_agent.model.errors import InvalidSetting, ModelNotFound

PRESETS = ("gpt4roi-7b", "gpt4roi-13b", "nano")

# Keys that transformers passes to a configuration and that are not fields of PreTrainedConfig.
_LIBRARY_KEYS = {"attn_implementation", "name_or_path", "torch_dtype", "output_attentions", "experts_implementation"}


@strict
class GPT4RoIConfig(PreTrainedConfig):
    """The configuration of GPT4RoI (arXiv 2307.03601); the defaults are those of the published 7B.

    vision_config, text_config: configurations (or their dictionaries) of any Hugging Face vision tower that
        returns hidden states, as (B, P, C) tokens or (B, C, H, W) maps, and of any causal language model.
    image_layer: index into the tower's hidden states for the image tokens.
    num_prefix_tokens: tokens before the patches in every hidden state (class token, registers).
    region_layers: indices into the hidden states for the region encoder, shallow first, one for each level.
    level_channels: channels of those hidden states.  Default: the tower's hidden size at every level.
    pyramid_sizes: side of each level's square map after resizing, in cells; finest first, one for each level.
    region_channels: width of the pyramid, the fusions and the pooled maps.
    region_dim: width of a region's vector before it is projected to the language model.
    num_fusions, fusion_groups: rounds of cross-level fusion, and groups of their GroupNorm.
    roi_size, sampling_ratio: RoIAlign's output side and samples for each bin and axis.
    position_dim: inner width of the box position embedding.
    image_size: side of the square input, in pixels.
    mask_pooling: pool a region by its mask, if it has one, instead of its box; beyond the paper, see `region_encoder`.
    focal_crop: encode a crop around each small region too; beyond the paper, see `region_encoder`.
    image_token_id, region_token_id, image_start_token_id, image_end_token_id: the special tokens.
    prompt: name of the conversation template in `prompts/` used in training.
    domain: one sentence on the images that the weights know, shown for images outside the domain; empty for no limit.

    Raises InvalidSetting for inconsistent values and unknown keys.
    """

    model_type = "gpt4roi"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    image_layer: int = -2
    num_prefix_tokens: int = 1
    region_layers: list[int] | tuple[int, ...] = (-11, -8, -5, -2)
    level_channels: list[int] | tuple[int, ...] | None = None
    pyramid_sizes: list[int] | tuple[int, ...] = (128, 64, 32, 16)
    region_channels: int = 1024
    region_dim: int = 1024
    num_fusions: int = 5
    fusion_groups: int = 64
    roi_size: int = 14
    sampling_ratio: int = 2
    position_dim: int = 256
    image_size: int = 224
    num_image_tokens: int = 256
    mask_pooling: bool = False
    focal_crop: bool = False
    image_token_id: int = 32001
    region_token_id: int = 32002
    image_start_token_id: int = 32004
    image_end_token_id: int = 32005
    prompt: str = "published"
    domain: str = ""
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = sorted(key for key in kwargs if not key.startswith("_") and not _library_key(key))
        if unknown:
            raise InvalidSetting(f"GPT4RoIConfig has no keys {', '.join(unknown)}", do="see its docstring for the keys")
        super().__post_init__(**kwargs)
        if self.level_channels is None:
            self.level_channels = [self.vision_channels] * len(self.region_layers)
        self.region_layers, self.level_channels = list(self.region_layers), list(self.level_channels)
        self.pyramid_sizes = list(self.pyramid_sizes)
        self.tie_word_embeddings = self.tie_word_embeddings or bool(self.text_config.tie_word_embeddings)  # type: ignore[union-attr]
        self._check()

    def _check(self) -> None:
        levels = {len(self.region_layers), len(self.level_channels or ()), len(self.pyramid_sizes)}
        if len(levels) != 1 or 0 in levels:
            raise InvalidSetting(
                f"region_layers, level_channels and pyramid_sizes have {len(self.region_layers)}, "
                f"{len(self.level_channels or ())} and {len(self.pyramid_sizes)} entries",
                do="give one of each for every level",
            )
        if self.region_channels % 4 or self.region_channels % self.fusion_groups:
            raise InvalidSetting(
                f"region_channels is {self.region_channels} with fusion_groups {self.fusion_groups}",
                do="give a multiple of 4 and of the groups",
            )

    @property
    def vision_channels(self) -> int:
        """Channels of the tower's last hidden state."""
        vision = self.vision_config
        return int(vision.hidden_sizes[-1] if hasattr(vision, "hidden_sizes") else vision.hidden_size)  # type: ignore[union-attr]

    @property
    def image_channels(self) -> int:
        """Channels of the hidden state of the image tokens."""
        vision = self.vision_config
        if not hasattr(vision, "hidden_sizes"):
            return self.vision_channels
        widths = [vision.embedding_size, *vision.hidden_sizes]  # type: ignore[union-attr]
        return int(widths[self.image_layer])

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.text_config.hidden_size)  # type: ignore[union-attr]

    @property
    def vocab_size(self) -> int:
        """Rows of the language model's embedding table."""
        return int(self.text_config.vocab_size)  # type: ignore[union-attr]

    @property
    def grid_side(self) -> int:
        """Cells along one side of the tower's finest grid: its patches, or its finest map."""
        patch = getattr(self.vision_config, "patch_size", None)
        return self.image_size // int(patch) if patch else max(self.pyramid_sizes)

    @property
    def mask_bins(self) -> int:
        """Side of the grid of mask coverage that the region encoder reads; 0 if it pools by boxes alone."""
        return self.roi_size if self.mask_pooling else 0

    @property
    def num_levels(self) -> int:
        """Levels of the feature pyramid."""
        return len(self.region_layers)

    @classmethod
    def preset(cls, name: str) -> "GPT4RoIConfig":
        """The configuration of a published size or of the shipped nano model.  Raises ModelNotFound."""
        if name not in PRESETS:
            raise ModelNotFound(f"no preset is called {name!r}", do=f"choose one of {', '.join(PRESETS)}")
        if name == "nano":
            return _nano()
        return _published(5120, 40, 40, 13824) if name == "gpt4roi-13b" else _published(4096, 32, 32, 11008)


def _library_key(key: str) -> bool:
    return key in _LIBRARY_KEYS or hasattr(PreTrainedConfig, key) or key in PreTrainedConfig.__dataclass_fields__


def _published(hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int) -> GPT4RoIConfig:
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        image_size=224,
        projection_dim=768,
    )
    text = LlamaConfig(
        vocab_size=32006,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=32000,
    )
    return GPT4RoIConfig(vision_config=vision, text_config=text)


def _nano() -> GPT4RoIConfig:
    """The same architecture, small enough to train and run on a CPU; see the card in `model/nano/`."""
    vision = ResNetConfig(embedding_size=32, hidden_sizes=[48, 96, 160, 192], depths=[1, 2, 2, 1], layer_type="basic")
    text = LlamaConfig(
        vocab_size=768,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=5,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.08,  # about 1 / sqrt(hidden_size): at 0.02 a model this narrow hardly learns
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return GPT4RoIConfig(
        vision_config=vision,
        text_config=text,
        image_layer=-1,
        num_prefix_tokens=0,
        region_layers=(1, 2, 3),
        level_channels=(48, 96, 160),
        pyramid_sizes=(32, 16, 8),
        region_channels=64,
        region_dim=128,
        num_fusions=2,
        fusion_groups=16,
        roi_size=7,
        position_dim=128,
        image_size=128,
        num_image_tokens=16,
        image_token_id=3,
        region_token_id=4,
        image_start_token_id=5,
        image_end_token_id=6,
        prompt="nano",
        domain="nano knows only the rendered scenes of the toy world",
    )
