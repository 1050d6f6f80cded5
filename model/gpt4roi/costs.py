"""The cost of a question: tokens, and floating-point operations counted in a run of the model without data."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers.initialization import no_init_weights

from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration

TEXT_TOKENS = 94  # of a typical prompt: with the published 256 image tokens, 350


@dataclass(frozen=True, slots=True)
class Costs:
    """FLOP of each part, a multiply-add counted as 2, and bytes cached per image.

    tower: the vision tower.  fusion: the fused maps of an image.  region: pooling and projecting one region.
    crop: a focal crop of a region, 0 without the option.  prompt: prefill of image_tokens and text_tokens.
    map_bytes: fused maps, at two bytes a number.
    """

    tower: int
    fusion: int
    region: int
    crop: int
    prompt: int
    image_tokens: int
    text_tokens: int
    map_bytes: int

    @property
    def first_token(self) -> int:
        """The total for one region in a new image."""
        return self.tower + self.fusion + self.region + self.crop + self.prompt

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self) | {"first_token": self.first_token}


@torch.no_grad()
def costs(config: GPT4RoIConfig, *, text_tokens: int = TEXT_TOKENS) -> Costs:
    """Count the costs of a configuration, without allocating weights."""
    with FakeTensorMode(), no_init_weights():
        model = GPT4RoIForConditionalGeneration(config).eval()
        pixels = torch.empty(1, 3, config.image_size, config.image_size)
        boxes, first = torch.empty(1, 4), torch.zeros(1, dtype=torch.long)
        prompt = torch.empty(1, config.num_image_tokens + text_tokens, config.hidden_size)
        encoder, layers = model.region_encoder, [config.image_layer, *config.region_layers]
        _, *levels = model.vision_features(pixels, layers)
        maps = encoder.fuse(levels)
        tower = _counted(lambda: model.vision_features(pixels, layers))
        fusion = _counted(lambda: encoder.fuse(levels))
        pooled = _counted(lambda: encoder.appearance(maps, boxes, first))
        projected = _counted(lambda: encoder.project(torch.empty(1, config.region_dim), boxes))
        read = _counted(lambda: model.language_model(inputs_embeds=prompt, logits_to_keep=1, use_cache=False))
    return Costs(
        tower=tower,
        fusion=fusion,
        region=pooled + projected,
        crop=tower + fusion + pooled if config.focal_crop else 0,
        prompt=read,
        image_tokens=config.num_image_tokens,
        text_tokens=text_tokens,
        map_bytes=2 * sum(level.numel() for level in maps),
    )


def _counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
