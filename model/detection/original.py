"""Adapter for live models of the original groundingdino package.

A model that is already loaded need not be loaded again. The package itself is not required here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torchvision.transforms import functional

from roi_agent.model.detection.detector import Candidates, PhraseDetector, prompt_of, token_spans
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.utils.cancellation import NEVER, Cancellation

# The original package's preprocessing: groundingdino/util/inference.py.
_SHORTER, _LONGER = 800, 1333
_MEAN, _SPREAD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class OriginalDetector:
    """A live model of the original groundingdino package."""

    threshold = 0.35

    def __init__(self, model: Any, *, name: str = "groundingdino") -> None:
        self.model, self.name = model.eval(), name

    @torch.inference_mode()
    def candidates(
        self, images: Sequence[Image.Image], phrases: Sequence[str], *, cancellation: Cancellation = NEVER
    ) -> list[Candidates]:
        """Return every query's box with its score for each phrase.  cancellation: ends the work after the current image."""
        spans = token_spans(self.model.tokenizer, phrases)
        device = next(self.model.parameters()).device
        found = []
        for image in images:
            cancellation.check("detecting")
            output = self.model(self._pixels(image).to(device), captions=[prompt_of(phrases)])
            scores = output["pred_logits"][0].float().sigmoid().cpu()
            by_phrase = torch.stack([scores[:, span].amax(-1) for span in spans], -1)
            centre, half = (part.double().cpu() for part in output["pred_boxes"][0].split(2, -1))
            corners = torch.cat([centre - half / 2, centre + half / 2], 1) * torch.tensor([*image.size, *image.size])
            found.append(Candidates(corners.numpy(), by_phrase.double().numpy()))
        return found

    @staticmethod
    def _pixels(image: Image.Image) -> torch.Tensor:
        """Return (1, 3, H, W), normalised: the shorter side 800 pixels, the longer at most 1333."""
        scale = min(_SHORTER / min(image.size), _LONGER / max(image.size))
        resized = functional.resize(image, [max(1, round(image.height * scale)), max(1, round(image.width * scale))])
        pixels: torch.Tensor = functional.normalize(functional.to_tensor(resized), _MEAN, _SPREAD)
        return pixels[None]


def as_detector(given: object) -> PhraseDetector | Callable[..., Any]:
    """Return a detector from a detector, a live groundingdino model, or a function image -> boxes.  Error: InvalidSetting."""
    if isinstance(given, PhraseDetector):
        return given
    if isinstance(given, torch.nn.Module) and hasattr(given, "tokenizer"):
        return OriginalDetector(given)
    if callable(given):
        return given
    raise InvalidSetting(f"a {type(given).__name__} is not a detector", do="give a detector, or a function image -> boxes")
