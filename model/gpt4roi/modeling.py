"""GPT4RoI: a vision tower, a region encoder and a language model (arXiv 2307.03601, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init

from roi_agent.model.errors import InvalidSetting, UnknownRegion
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.focal import FocalCrops
from roi_agent.model.gpt4roi.region_encoder import CoordinateLinear, FocalAppearance, RegionEncoder
from roi_agent.model.gpt4roi.region_inputs import RegionInputs

CROPS_AT_ONCE = 8  # focal crops encoded together: each takes 45 MB of maps in the published model


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Question-independent features of B images: cached, they make further questions cheap.

    tokens: (B, num_image_tokens, hidden_size).  maps: L x (B, region_channels, S_l, S_l), fused.
    """

    tokens: Tensor
    maps: list[Tensor]


class GPT4RoIForConditionalGeneration(PreTrainedModel):
    """A language model that reads an image and, at each `<bbox>` token, a box of the image.

    The embeddings of the image tokens are replaced by projected features of the vision tower, the embedding of each region
    token by the region encoder's vector of its box, in order.
    """

    config: GPT4RoIConfig
    config_class = GPT4RoIConfig
    base_model_prefix = "gpt4roi"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012

    def __init__(self, config: GPT4RoIConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.projector = nn.Linear(config.image_channels, config.hidden_size)
        self.region_encoder = RegionEncoder(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CoordinateLinear):
            # Random weights on corners would encode centres well and sizes badly, since sizes vary less. These encode both,
            # with knots all over the image, so that a model can locate and size a box from the first step.
            centre = torch.randn(module.out_features, 2) * 2
            size = torch.randn(module.out_features, 2) * 6
            init.copy_(module.weight, torch.cat([centre / 2 - size, centre / 2 + size], dim=1))
            init.uniform_(module.bias, -2.0, 2.0)
        if isinstance(module, RegionEncoder) and module.focal_gate is not None:
            init.zeros_(module.focal_gate)

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def vision_features(self, pixel_values: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """(B, 3, S, S), normalised -> the tower's hidden states at these indices, each (B, P, C) without prefix tokens."""
        states = self.vision_tower(pixel_values.to(self.dtype), output_hidden_states=True).hidden_states
        return [self._patches(states[layer]) for layer in layers]

    def encode_image(self, pixel_values: Tensor) -> ImageFeatures:
        """Compute all that depends on the images alone.  pixel_values: (B, 3, S, S), normalised."""
        image, *levels = self.vision_features(pixel_values, [self.config.image_layer, *self.config.region_layers])
        return ImageFeatures(self.projector(image), self.region_encoder.fuse(levels))

    def region_vectors(self, maps: list[Tensor], boxes: Sequence[Tensor | RegionInputs]) -> list[Tensor]:
        """Fused maps of B images and their boxes, B x (N_i, 4) xyxy in [0, 1] -> B x (N_i, hidden_size).

        boxes: as `RegionInputs` to pass masks and focal crops too.
        """
        regions = RegionInputs.of(boxes)
        return self.region_encoder.pool(maps, regions, self._focal_appearance(regions))

    def embed(self, input_ids: Tensor, image_tokens: Tensor | None, region_vectors: list[Tensor] | None) -> Tensor:
        """Token ids (B, T) -> embeddings (B, T, hidden_size) with image and region features inserted.

        image_tokens: (B, num_image_tokens, hidden_size).  region_vectors: B x (N_i, hidden_size), in the order of the
        region tokens.  Raises UnknownRegion if a row has more or fewer region tokens than vectors.
        """
        embeddings: Tensor = self.get_input_embeddings()(input_ids)
        is_region, is_image = input_ids == self.config.region_token_id, input_ids == self.config.image_token_id
        given = [len(each) for each in region_vectors] if region_vectors is not None else [0] * len(input_ids)
        wanted = is_region.sum(1).tolist()
        if given != wanted:
            raise UnknownRegion(
                f"the rows contain {wanted} region tokens but {given} boxes", do="give one box for each region token"
            )
        if image_tokens is not None:
            if int(is_image.sum()) != image_tokens.shape[0] * image_tokens.shape[1]:
                raise InvalidSetting(
                    f"the text contains {int(is_image.sum())} image tokens for features of shape {tuple(image_tokens.shape[:2])}",
                    do="write num_image_tokens of them for each image, as GPT4RoIProcessor does",
                )
            embeddings = embeddings.masked_scatter(is_image[..., None], image_tokens.to(embeddings.dtype))
        if region_vectors and sum(wanted):
            embeddings = embeddings.masked_scatter(is_region[..., None], torch.cat(region_vectors).to(embeddings.dtype))
        return embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        boxes: Sequence[Tensor | RegionInputs] | None = None,
        image_features: ImageFeatures | None = None,
        region_vectors: list[Tensor] | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The language model's output, with a loss where labels are given.

        input_ids, attention_mask, labels: (B, T).  pixel_values: (B, 3, S, S), normalised.
        boxes: B x (N_i, 4), xyxy in [0, 1], in the order of the region tokens; as `RegionInputs` with masks or focal crops.
        image_features, region_vectors: cached, in place of pixel_values and boxes.
        """
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self._embed_inputs(input_ids, pixel_values, boxes, image_features, region_vectors)
        return self.language_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        boxes: Sequence[Tensor | RegionInputs] | None = None,
        image_features: ImageFeatures | None = None,
        region_vectors: list[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate from token ids (B, T) -> prompt and answer (B, T + new), with all options of transformers' `generate`.

        The arguments are those of `forward`; rows of unequal length are padded on the left. `GPT4RoIProcessor.stopping` returns
        the options that end an answer.
        """
        embeddings = self._embed_inputs(input_ids, pixel_values, boxes, image_features, region_vectors)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        return self.language_model.generate(
            input_ids=input_ids, inputs_embeds=embeddings, attention_mask=attention_mask, **kwargs
        )

    def _embed_inputs(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None,
        boxes: Sequence[Tensor | RegionInputs] | None,
        image_features: ImageFeatures | None,
        region_vectors: list[Tensor] | None,
    ) -> Tensor:
        if image_features is None and pixel_values is not None:
            image_features = self.encode_image(pixel_values)
        if region_vectors is None and boxes is not None and image_features is not None:
            region_vectors = self.region_vectors(image_features.maps, boxes)
        return self.embed(input_ids, image_features.tokens if image_features else None, region_vectors)

    def _focal_appearance(self, regions: Sequence[RegionInputs]) -> FocalAppearance | None:
        """Encode the focal crops of all images, each as an image of its own."""
        seen, places, start = [], [], 0
        for each in regions:
            if each.crops is not None:
                places.append(start + each.crops.regions)
                coverage = each.coverage[each.crops.regions.to(each.coverage.device)] if each.coverage is not None else None
                seen.append(self._seen_in(each.crops, coverage))
            start += len(each)
        return FocalAppearance(torch.cat(seen), torch.cat(places)) if seen else None

    def _seen_in(self, crops: FocalCrops, coverage: Tensor | None) -> Tensor:
        """The appearance of regions in their crops, (M, region_dim)."""
        seen = []
        for some in torch.arange(len(crops.pixels)).split(CROPS_AT_ONCE):
            levels = self.vision_features(crops.pixels[some].to(self.device), self.config.region_layers)
            boxes = crops.boxes[some].to(self.device)
            of_crop = torch.arange(len(some), device=self.device)
            maps = self.region_encoder.fuse(levels)
            covered = coverage[some.to(coverage.device)].to(self.device) if coverage is not None else None
            seen.append(self.region_encoder.appearance(maps, boxes, of_crop, covered))
        return torch.cat(seen)

    def _patches(self, state: Tensor) -> Tensor:
        """A hidden state as (B, P, C): maps are flattened, prefix tokens dropped."""
        return state.flatten(2).transpose(1, 2) if state.dim() == 4 else state[:, self.config.num_prefix_tokens :]


AutoConfig.register("gpt4roi", GPT4RoIConfig, exist_ok=True)
AutoModel.register(GPT4RoIConfig, GPT4RoIForConditionalGeneration, exist_ok=True)
AutoModelForCausalLM.register(GPT4RoIConfig, GPT4RoIForConditionalGeneration, exist_ok=True)
