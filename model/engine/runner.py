"""The passes of the model over images and rows of questions; knows tensors, not time, queues or text."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from roi_agent.model.engine.attention import SHARED
from roi_agent.model.engine.cache import CachedImage, RegionKey
from roi_agent.model.engine.half_precision import fast_products
from roi_agent.model.engine.kv_cache import BatchedKVCache, Prefix
from roi_agent.model.engine.request import Request
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting
from roi_agent.model.geometry.regions import Region
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.images.loading import LoadedImage

P = ParamSpec("P")
T = TypeVar("T")
Inspect = Callable[[LoadedImage, list[Tensor]], tuple[str, ...]]  # an image and its fused maps -> notes on it


def _inference(run: Callable[Concatenate["Runner", P], T]) -> Callable[Concatenate["Runner", P], T]:
    """Run a pass in inference mode, with the fast dtype for products."""

    @wraps(run)
    def passed(self: "Runner", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(), fast_products(self.model.dtype, self.device):
            return run(self, *args, **kwargs)

    return passed


class Runner:
    """The model's passes.

    inspect: called once for every image.
    Errors: InvalidSetting for a language model whose attention cannot be replaced, CheckpointMismatch for a processor that does
    not match the model.
    """

    def __init__(
        self, model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, inspect: Inspect | None = None
    ) -> None:
        self.model, self.processor, self._inspect = model.eval(), processor, inspect
        _check_match(model, processor)
        language = model.language_model
        if not language._supports_attention_backend:
            kind = type(language).__name__
            raise InvalidSetting(
                f"the attention of {kind} cannot be replaced", do="use a language model that allows it, such as LLaMA"
            )
        layers = set(getattr(language.config, "layer_types", None) or ["full_attention"])
        if layers != {"full_attention"}:
            raise InvalidSetting(
                f"the language model has layers of {', '.join(sorted(layers))}", do="use one with full attention in every layer"
            )
        language.set_attn_implementation(SHARED)
        prompt = processor.render([], [])
        self.prefix_ids = self._shared_prefix(processor.encode(prompt)[0])
        self.vision_passes = self.prefix_passes = self.fusions = 0

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self.model.device
        return device

    @property
    def heads(self) -> int:
        """Attention heads of the language model."""
        heads: int = self.model.config.text_config.num_attention_heads
        return heads

    @_inference
    def encode(self, image: LoadedImage) -> CachedImage:
        """Compute all that depends on the image alone: fused maps, and the KV cache of the shared prefix."""
        features = self.model.encode_image(self.processor.pixels([image.pixels]).to(self.device))
        self.vision_passes += 1
        self.fusions += 1
        embeddings = self.model.embed(torch.tensor([self.prefix_ids], device=self.device), features.tokens, None)
        cache = DynamicCache()
        self.model.language_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.prefix_passes += 1
        layers: list[Any] = list(cache.layers)
        prefix = Prefix([each.keys[0] for each in layers], [each.values[0] for each in layers])
        return CachedImage(features, prefix, self._inspect(image, features.maps) if self._inspect else ())

    @_inference
    def prefill(self, requests: Sequence[Request], kept: Sequence[CachedImage]) -> tuple[BatchedKVCache, list[Tensor]]:
        """Prefill questions; rows of one image are adjacent.

        Returns the rows, and for each its logits (n, V): after the last token, or at all positions with a label to score.
        """
        suffixes = [list(request.ids[len(self.prefix_ids) :]) for request in requests]
        lengths = torch.tensor([len(each) for each in suffixes], device=self.device)
        longest = max(map(len, suffixes))
        ids = torch.tensor([each + [0] * (longest - len(each)) for each in suffixes], device=self.device)
        vectors = [self._vectors(request, image) for request, image in zip(requests, kept, strict=True)]
        embeddings = self.model.embed(ids, None, vectors)
        rows = BatchedKVCache([each.prefix for each in kept], torch.zeros_like(lengths))
        wanted = torch.zeros(len(requests), longest, dtype=torch.bool)
        for index, (request, suffix) in enumerate(zip(requests, suffixes, strict=True)):
            wanted[index, self._logit_positions(request, len(suffix))] = True
        logits = self.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=_causal(longest, embeddings),
            position_ids=len(self.prefix_ids) + torch.arange(longest, device=self.device)[None].expand(len(requests), -1),
            past_key_values=rows,
            use_cache=True,
            shared_rows=rows,
            logits_to_keep=wanted.to(self.device),
        ).logits
        rows.lengths = lengths
        return rows, list(logits.view(-1, logits.shape[-1]).split(wanted.sum(1).tolist()))

    @_inference
    def step(self, rows: BatchedKVCache, tokens: Sequence[int]) -> Tensor:
        """Decode one token for every row -> logits (B, V).  The caller increments the lengths of the rows."""
        rows.reserve()
        embeddings = self.model.embed(torch.tensor(tokens, device=self.device)[:, None], None, None)
        logits: Tensor = self.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=rows.mask(embeddings.dtype),
            position_ids=rows.positions(),
            past_key_values=rows,
            use_cache=True,
            shared_rows=rows,
        ).logits
        return logits[:, -1]

    def _vectors(self, request: Request, image: CachedImage) -> Tensor:
        """The vectors of the regions, (N, hidden_size), cached by image."""
        new = [region for region in request.regions if self._key(region) not in image.vectors]
        if new:
            (vectors,) = self.model.region_vectors(image.features.maps, [self.processor.region_inputs(new, request.image)])
            image.vectors |= {self._key(region): vector for region, vector in zip(new, vectors, strict=True)}
        if not request.regions:
            return torch.zeros(0, self.model.config.hidden_size, device=self.device, dtype=self.model.dtype)
        return torch.stack([image.vectors[self._key(region)] for region in request.regions])

    def _key(self, region: Region) -> RegionKey:
        """What a region's vector depends on apart from the image."""
        masked = region.mask is not None and self.model.config.mask_pooling
        return (*region.box.xyxy, region.mask.digest) if masked and region.mask else region.box.xyxy

    def _logit_positions(self, request: Request, length: int) -> list[int]:
        """The positions of a suffix whose logits are needed; each predicts the next token."""
        if request.labels is None:
            return [length - 1]
        labels = request.labels[len(self.prefix_ids) :]
        return [index - 1 for index, label in enumerate(labels) if label >= 0]

    def _shared_prefix(self, ids: list[int]) -> list[int]:
        """The ids shared by all prompts: up to the image tokens and the token that closes them."""
        config = self.model.config
        end = len(ids) - ids[::-1].index(config.image_token_id)
        closed = ids[end : end + 1] == [config.image_end_token_id]
        return ids[: end + closed]


def _check_match(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> None:
    for name in ("mask_bins", "focal_crop", "num_image_tokens"):
        wanted, given = getattr(model.config, name), getattr(processor, name)
        if wanted != given:
            problem = f"the model has {name} {wanted} and its processor {given}"
            raise CheckpointMismatch(problem, do="make the processor with new_processor, or load both with load_adapted")


def _causal(length: int, like: Tensor) -> Tensor:
    """The additive causal mask, (1, 1, T, T)."""
    mask = torch.full((length, length), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device)
    return mask.triu(1)[None, None]
