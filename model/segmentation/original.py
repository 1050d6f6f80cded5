"""Adapter for live predictors of the original segment-anything package.

A model that is already loaded need not be loaded again. The package itself is not required here.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.images.pixels import without_vanishing
from roi_agent.model.segmentation.segmenter import Prompt, PromptedSegmenter, ScoredMask, best_masks, framed_logits, scored_mask
from roi_agent.model.utils.cancellation import NEVER, Cancellation

_SAM_SIDE = 1024


class OriginalSegmenter:
    """A live `SamPredictor` of the original segment-anything package; nothing else may use it from then on."""

    def __init__(self, predictor: Any, *, name: str = "segment-anything") -> None:
        self.predictor, self.name = predictor, name
        self._digest, self._encoded_wh = "", (0, 0)
        self._lock = threading.Lock()

    def masks(
        self,
        image: LoadedImage,
        prompts: Sequence[Prompt],
        *,
        several: bool = False,
        min_score: float | None = None,
        cancellation: Cancellation = NEVER,
    ) -> list[list[ScoredMask]]:
        """As `TransformersSegmenter.masks`, one prompt at a time."""
        with self._lock:
            if self._digest != image.digest():
                readable = without_vanishing(image.pixels, _side(self.predictor))
                self.predictor.set_image(np.asarray(readable))
                self._digest, self._encoded_wh = image.digest(), readable.size
            found = []
            for prompt in prompts:
                cancellation.check("segmenting")
                found.append(self._masks(prompt, image.size_wh, several, min_score))
            return found

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        """Return no notes: the model's training data is unknown."""
        return ()

    def _masks(self, prompt: Prompt, size_wh: tuple[int, int], several: bool, min_score: float | None) -> list[ScoredMask]:
        single = len(prompt.points) == 1 and prompt.box is None and prompt.mask is None
        scale_wh = np.array(self._encoded_wh) / size_wh  # 1, unless the image is shrunk for the encoder
        logits, scores, _ = self.predictor.predict(
            point_coords=np.array([point[:2] for point in prompt.points]) * scale_wh if prompt.points else None,
            point_labels=np.array([int(point[2]) for point in prompt.points]) if prompt.points else None,
            box=np.array(prompt.box.xyxy) * np.tile(scale_wh, 2) if prompt.box else None,
            mask_input=self._mask_input(prompt.mask) if prompt.mask else None,
            multimask_output=several or single,
            return_logits=True,
        )
        best = best_masks(scores.tolist(), several=several, min_score=min_score)
        return [scored_mask(self._in_image(logits[index], size_wh), float(scores[index])) for index in best]

    def _in_image(self, logits: NDArray[np.float32], size_wh: tuple[int, int]) -> NDArray[np.float32]:
        if self._encoded_wh == size_wh:
            return logits
        whole = interpolate(torch.from_numpy(logits)[None, None], size_wh[::-1], mode="bilinear", align_corners=False)
        values: NDArray[np.float32] = whole[0, 0].numpy()
        return values

    def _mask_input(self, mask: Mask) -> NDArray[np.float32]:
        """Return (1, h, w) logits in the padded frame."""
        height, width = self.predictor.input_size
        frame = self.predictor.model.image_encoder.img_size
        side, _ = self.predictor.model.prompt_encoder.mask_input_size
        values: NDArray[np.float32] = framed_logits(mask, (width, height), (frame, frame), side)[0].numpy()
        return values


def as_segmenter(given: object) -> PromptedSegmenter:
    """Return a segmenter from a segmenter, or a live `SamPredictor` or `Sam` of segment-anything.  Error: InvalidSetting."""
    if isinstance(given, PromptedSegmenter):
        return given
    if hasattr(given, "set_image") and hasattr(given, "predict"):
        return OriginalSegmenter(given)
    if hasattr(given, "image_encoder") and hasattr(given, "mask_decoder"):
        from segment_anything import SamPredictor

        return OriginalSegmenter(SamPredictor(given))
    raise InvalidSetting(
        f"a {type(given).__name__} is not a segmenter", do="give one that load_segmenter returns, or a SamPredictor"
    )


def _side(predictor: Any) -> int:
    """Return the longer side of a predictor's input in pixels; SAM's if the encoder does not specify it."""
    encoder = getattr(getattr(predictor, "model", None), "image_encoder", None)
    return int(getattr(encoder, "img_size", _SAM_SIDE))
