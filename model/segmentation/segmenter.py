"""Segmenters: SAM, SAM 2 and SAM 3's tracker through their transformers classes.

An image is encoded once and cached; each prompt then needs only the small decoder.  SAM: arXiv 2304.02643.
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad
from transformers import AutoConfig, AutoModelForMaskGeneration, AutoProcessor

from roi_agent.model.checkpoints.loading import load_on, load_part
from roi_agent.model.domain.domains import Domain, load_domain
from roi_agent.model.errors import InvalidSetting, ModelNotFound, ModelOutputInvalid
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.images.pixels import without_vanishing
from roi_agent.model.utils.cancellation import NEVER, Cancellation, takes_cancellation
from roi_agent.model.utils.messages import escaped

PADDED = ("sam", "sam_hq")  # scale the longer side and pad; the others stretch the image to a square
STRETCHED = ("sam2", "sam2_video", "sam3_tracker", "sam3_video", "edgetam", "edgetam_video")

_CACHED_IMAGES = 4
_BATCH = 32  # prompts
_ACTION = "segmenting"
_MASK_LOGIT = 10.0  # logit of the pixels of a mask prompt
_STABLE = 1.0  # shift of the threshold, in logits, for the stability score


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt for one object: points, a box, a mask, or a combination, in pixels of the image.

    points: (x, y, inside), where inside is False for a point outside the object.
    """

    points: tuple[tuple[float, float, bool], ...] = ()
    box: Box | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class ScoredMask:
    """A mask, or None if it is empty; its IoU as predicted by the model; and its stability.

    stability: IoU of the masks at a slightly higher and a slightly lower threshold, in [0, 1].
    """

    mask: Mask | None
    score: float
    stability: float


@runtime_checkable
class PromptedSegmenter(Protocol):
    """A segmenter that returns masks for prompts.

    `masks` may also take a `cancellation`, and call its `check` between two steps; see `masks_of`.
    """

    name: str

    def masks(
        self, image: LoadedImage, prompts: Sequence[Prompt], *, several: bool = False, min_score: float | None = None
    ) -> list[list[ScoredMask]]:
        """Return one mask per prompt, or with `several` all three of the model, best first; none below min_score."""

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        """Return warnings about masks of this image."""


class TransformersSegmenter:
    """A segmenter from transformers in this process. Thread-safe: calls use the model one at a time."""

    def __init__(self, model: Any, processor: Any, *, name: str = "segmenter", domain: Domain | None = None) -> None:
        kind = model.config.model_type
        if kind not in (*PADDED, *STRETCHED):
            raise InvalidSetting(f"a model of the type {kind!r} cannot segment", do="use SAM, SAM 2 or SAM 3's tracker")
        self.model, self.processor, self.name, self._domain = model.eval(), processor, name, domain
        self.images_encoded = 0
        self._cache: OrderedDict[str, _Encoded] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> "TransformersSegmenter":
        """Load a model from a local folder, or by its name on the Hugging Face hub.

        Errors: ModelNotFound, CheckpointMismatch, InvalidSetting.
        """
        config = load_part(AutoConfig, folder)
        if config.model_type not in (*PADDED, *STRETCHED):
            raise ModelNotFound(f"{Path(folder).name!r} is a {config.model_type}, not a segmenter", do="give a SAM or SAM 2")
        model = load_on(AutoModelForMaskGeneration, folder, device=device, dtype=dtype)
        processor, domain = load_part(AutoProcessor, folder), load_domain(Path(folder))
        return cls(model, processor, name=Path(folder).name, domain=domain)

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        """Return a note if the image is outside the model's domain."""
        if self._domain is None:
            return ()
        whole = image.whole or image
        with self._lock, torch.inference_mode():
            inside = self._domain.contains(whole.pixels, lambda: [self._encode(whole).embeddings])
        return () if inside else (self._domain.note("the masks"),)

    def to(self, device: str) -> None:
        """Move the weights, and clear the cached embeddings."""
        with self._lock:
            self._cache.clear()
            self.model.to(device)

    @torch.inference_mode()
    def masks(
        self,
        image: LoadedImage,
        prompts: Sequence[Prompt],
        *,
        several: bool = False,
        min_score: float | None = None,
        cancellation: Cancellation = NEVER,
    ) -> list[list[ScoredMask]]:
        """Return one mask per prompt, or with `several` all three of the model, best first; none below min_score.

        A single point may mean an object, a part of it or what it belongs to; its mask is therefore the best of the three.
        cancellation: ends the work after a forward pass or a mask.
        """
        cancellation.check(_ACTION)
        with self._lock:
            encoded = self._encode(image)
        found: dict[int, list[ScoredMask]] = {}
        for group in _batches(prompts):
            for start in range(0, len(group), _BATCH):
                cancellation.check(_ACTION)
                indices = group[start : start + _BATCH]
                chosen = [prompts[index] for index in indices]
                three = several or (len(chosen[0].points) == 1 and chosen[0].box is None and chosen[0].mask is None)
                with self._lock:
                    logits, scores = self._decode(encoded, chosen, several=three)
                for index, mask_logits, mask_scores in zip(indices, logits, scores.tolist(), strict=True):
                    found[index] = []
                    for one in best_masks(mask_scores, several=several, min_score=min_score):
                        cancellation.check(_ACTION)
                        found[index].append(self._to_mask(encoded, mask_logits[one], mask_scores[one]))
        return [found[index] for index in range(len(prompts))]

    def _encode(self, image: LoadedImage) -> "_Encoded":
        key = image.digest()
        if key not in self._cache:
            side = self.model.config.prompt_encoder_config.image_size
            inputs = self.processor(images=without_vanishing(image.pixels, side), return_tensors="pt")
            pixels = inputs["pixel_values"].to(self.model.device, self.model.dtype)
            embeddings = self.model.get_image_embeddings(pixels)
            width, height = image.size_wh
            frame = pixels.shape[-1], pixels.shape[-2]
            inner = tuple(inputs["reshaped_input_sizes"][0].tolist())[::-1] if "reshaped_input_sizes" in inputs else frame
            self._cache[key] = _Encoded(embeddings, (width, height), (inner[0], inner[1]), frame)
            self.images_encoded += 1
            if len(self._cache) > _CACHED_IMAGES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _decode(self, image: "_Encoded", prompts: Sequence[Prompt], *, several: bool) -> tuple[Tensor, Tensor]:
        """Return mask logits (prompts, masks, h, w) in the padded frame and scores (prompts, masks), for prompts of one kind."""
        inputs: dict[str, Tensor] = {}
        if prompts[0].points:
            points = [[image.into_frame(x, y) for x, y, _ in prompt.points] for prompt in prompts]
            inputs["input_points"] = torch.tensor([points], dtype=self.model.dtype)
            inputs["input_labels"] = torch.tensor([[[int(inside) for *_, inside in prompt.points] for prompt in prompts]])
        if prompts[0].box is not None:
            corners = [(*image.into_frame(box.x1, box.y1), *image.into_frame(box.x2, box.y2)) for p in prompts if (box := p.box)]
            inputs["input_boxes"] = torch.tensor([corners], dtype=self.model.dtype)
        if prompts[0].mask is not None:
            inputs["input_masks"] = self._mask_input(image, prompts[0].mask)
        moved = {name: values.to(self.model.device) for name, values in inputs.items()}
        output = self.model(image_embeddings=image.embeddings, multimask_output=several, **moved)
        return output.pred_masks[0].float().cpu(), output.iou_scores[0].float().cpu()

    def _mask_input(self, image: "_Encoded", mask: Mask) -> Tensor:
        """Return (1, 1, h, w) logits in the padded frame, at the resolution of the prompt encoder."""
        config = self.model.config.prompt_encoder_config
        side = 4 * (config.image_size // config.patch_size)
        return framed_logits(mask, image.inner_wh, image.frame_wh, side).to(self.model.dtype)

    def _to_mask(self, image: "_Encoded", logits: Tensor, score: float) -> ScoredMask:
        """Return the mask of logits (h, w) at the image's resolution."""
        framed = interpolate(logits[None, None], image.frame_wh[::-1], mode="bilinear", align_corners=False)
        inner = framed[..., : image.inner_wh[1], : image.inner_wh[0]]
        full = interpolate(inner, image.size_wh[::-1], mode="bilinear", align_corners=False)[0, 0]
        return scored_mask(full.numpy(), score)


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """An image's embeddings, and the sizes in pixels of the image, of the image in the padded frame, and of the frame."""

    embeddings: Any
    size_wh: tuple[int, int]
    inner_wh: tuple[int, int]
    frame_wh: tuple[int, int]

    def into_frame(self, x: float, y: float) -> tuple[float, float]:
        return x * self.inner_wh[0] / self.size_wh[0], y * self.inner_wh[1] / self.size_wh[1]


def masks_of(
    segmenter: PromptedSegmenter,
    image: LoadedImage,
    prompts: Sequence[Prompt],
    cancellation: Cancellation,
    *,
    several: bool = False,
    min_score: float | None = None,
) -> list[list[ScoredMask]]:
    """As `segmenter.masks`, with cancellation between two steps; a segmenter without it gets a few prompts at a time.

    Error: ModelOutputInvalid if the result is invalid.
    """
    options: dict[str, Any] = {"several": several, "min_score": min_score}
    method: Any = segmenter.masks
    if takes_cancellation(method):
        return _checked(method(image, prompts, **options, cancellation=cancellation), len(prompts), image.size_wh)
    found: list[list[ScoredMask]] = []
    for start in range(0, len(prompts), _BATCH):
        cancellation.check(_ACTION)
        some = prompts[start : start + _BATCH]
        found += _checked(method(image, some, **options), len(some), image.size_wh)
    return found


def _checked(found: Any, num_prompts: int, size_wh: tuple[int, int]) -> list[list[ScoredMask]]:
    """Return what a segmenter, possibly the user's own, returned.  Error: ModelOutputInvalid."""
    lists = isinstance(found, list | tuple) and all(isinstance(each, list | tuple) for each in found)
    if not lists or len(found) != num_prompts or not all(isinstance(mask, ScoredMask) for masks in found for mask in masks):
        problem = f"the segmenter returned {escaped(found)} for {num_prompts} prompts"
        raise ModelOutputInvalid(problem, do="return a list of ScoredMask for each prompt")
    for mask in (each.mask for masks in found for each in masks if each.mask is not None):
        if mask.size_wh != size_wh:
            width, height = mask.size_wh
            problem = f"the segmenter returned a mask of {width} x {height} pixels"
            raise ModelOutputInvalid(problem, do=f"return masks of the image's size, {size_wh[0]} x {size_wh[1]} pixels")
    return [list(masks) for masks in found]


def framed_logits(mask: Mask, inner_wh: tuple[int, int], frame_wh: tuple[int, int], side: int) -> Tensor:
    """Return a mask as SAM's prompt: (1, 1, side, side) logits in the padded frame, in which the image has the size inner_wh."""
    logits = torch.from_numpy(mask.to_array()).float()[None, None] * 2 * _MASK_LOGIT - _MASK_LOGIT
    inner = interpolate(logits, inner_wh[::-1], mode="bilinear", align_corners=False)
    framed = pad(inner, (0, frame_wh[0] - inner_wh[0], 0, frame_wh[1] - inner_wh[1]), value=-_MASK_LOGIT)
    return interpolate(framed, (side, side), mode="bilinear", align_corners=False, antialias=True)


def best_masks(scores: Sequence[float], *, several: bool, min_score: float | None) -> list[int]:
    """Return the indices of a prompt's selected masks, best first; selecting before building them saves most of the time."""
    best = sorted(range(len(scores)), key=lambda index: scores[index], reverse=True)
    # A score that is NaN is kept, for the caller to refuse.
    return [index for index in (best if several else best[:1]) if min_score is None or not scores[index] < min_score]


def scored_mask(logits: NDArray[np.floating[Any]], score: float) -> ScoredMask:
    """Convert mask logits (H, W) to a mask."""
    inside = logits > 0
    sure, possible = int((logits > _STABLE).sum()), int((logits > -_STABLE).sum())
    return ScoredMask(Mask.from_array(inside) if inside.any() else None, score, sure / possible if possible else 0.0)


def _batches(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Group the indices of prompts that can run as one batch without padding, which would change results. Masks run alone."""
    groups: defaultdict[tuple[int, bool, int], list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        groups[len(prompt.points), prompt.box is not None, index if prompt.mask else -1].append(index)
    return list(groups.values())
