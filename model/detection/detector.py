"""Open-vocabulary detectors: Grounding DINO, MM Grounding DINO and OWLv2 through their transformers classes.

A detector takes images and phrases and returns every candidate box with its score for every phrase; the caller decides what
counts as found.  Grounding DINO: arXiv 2303.05499; OWLv2: arXiv 2306.09683.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, AutoProcessor

from roi_agent.model.checkpoints.loading import load_on, load_part
from roi_agent.model.domain.domains import Domain, load_domain
from roi_agent.model.errors import InvalidSetting, ModelNotFound, ModelOutputInvalid, PromptTooLong
from roi_agent.model.images.pixels import shrunk_to, without_vanishing
from roi_agent.model.utils.cancellation import NEVER, Cancellation, takes_cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.model.utils.unicode_text import check_unicode

GROUNDED = ("grounding-dino", "mm-grounding-dino")
OPEN_WORLD = ("owlv2", "owlvit")
MAX_PHRASES = 200
MAX_PHRASE_CHARACTERS = 200

_BATCH = 8  # images
_ACTION = "detecting"
_PADDED = 8  # maximum longer side of an image that OWLv2 pads to a square, as a multiple of its input size
_SEPARATORS = re.compile(r"[;|\n\uff0c\u3001\u3002\uff1b\uff0f\uff5c]|(?<![0-9])[.,/]|[.,/](?![0-9])")
_IGNORED = re.compile(r"[.?!()\[\]{}<>\"“”„«»\x00-\x1f]")
_STRIPPED = " '`\u2018\u2019*-\u2013\u2014\u2022:=_"  # marks of lists and quotations, removed at either end of a phrase


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The candidates of a detector in one image.

    boxes: (N, 4) pixel xyxy, possibly beyond the edges.  scores: (N, number of phrases) in [0, 1].
    unknown: phrases with words outside the detector's vocabulary; their scores are 0.  notes: warnings for the reader.
    in_domain: whether the image is like those that the detector was trained on; None if unknown.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    in_domain: bool | None = None


@runtime_checkable
class PhraseDetector(Protocol):
    """A detector of objects named by phrases.

    `candidates` may also take a `cancellation`, and call its `check` between two steps; see `candidates_of`.
    """

    name: str
    threshold: float

    def candidates(self, images: Sequence[Image.Image], phrases: Sequence[str]) -> list[Candidates]:
        """Return the candidates for each RGB image; phrases as returned by `parse_phrases`."""


def parse_phrases(phrases: object) -> tuple[str, ...]:
    """Return the phrases of a prompt, "red umbrella . star ." or a list of prompts, in lower case and without duplicates.

    Full stops, commas, semicolons, slashes, bars and line breaks separate phrases, except within a number; brackets, quotation
    marks and list marks are removed. "and" is not a separator, as in "black and white cat".
    Errors: InvalidSetting for no phrase, too many, or anything but text; PromptTooLong for a long phrase.
    """
    given = [phrases] if isinstance(phrases, str) else phrases
    if not isinstance(given, Sequence) or not all(isinstance(phrase, str) for phrase in given):
        raise InvalidSetting(f"the phrases are {escaped(phrases)}", do='give a text such as "red umbrella . star ." or a list')
    for phrase in given:
        check_unicode(phrase, "a phrase")
    parts = [part for phrase in given for part in _SEPARATORS.split(phrase)]
    # A full stop or a question mark would split the phrase inside the model.
    cleaned = [" ".join(_IGNORED.sub(" ", part).lower().split()).strip(_STRIPPED) for part in parts]
    found = tuple(dict.fromkeys(phrase for phrase in cleaned if re.search(r"\w", phrase)))
    if not found:
        raise InvalidSetting("there is no phrase to look for", do='name things, for example "red umbrella . star ."')
    if len(found) > MAX_PHRASES:
        raise InvalidSetting(f"{len(found)} phrases", do=f"give at most {MAX_PHRASES} at once")
    if longest := next((phrase for phrase in found if len(phrase) > MAX_PHRASE_CHARACTERS), None):
        problem = f"the phrase {escaped(longest)} has {len(longest)} characters"
        raise PromptTooLong(problem, do=f"give short names of things, at most {MAX_PHRASE_CHARACTERS} characters each")
    return found


class TransformersDetector:
    """A detector from transformers in this process; the images of a call run in batches."""

    def __init__(
        self, model: Any, processor: Any, *, name: str = "detector", threshold: float | None = None, domain: Domain | None = None
    ) -> None:
        kind = model.config.model_type
        if kind not in (*GROUNDED, *OPEN_WORLD):
            raise InvalidSetting(f"a model of the type {kind!r} cannot detect", do=f"use {', '.join((*GROUNDED, *OPEN_WORLD))}")
        self.model, self.processor, self.name, self._domain = model.eval(), processor, name, domain
        own = getattr(model.config, "detection_threshold", None)
        self.threshold = next(value for value in (threshold, own, 0.3 if kind in GROUNDED else 0.2) if value is not None)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> "TransformersDetector":
        """Load a model from a local folder, or by its name on the Hugging Face hub.

        Errors: ModelNotFound, CheckpointMismatch, InvalidSetting.
        """
        config = load_part(AutoConfig, folder)
        if config.model_type not in (*GROUNDED, *OPEN_WORLD):
            raise ModelNotFound(
                f"{Path(folder).name!r} is a {config.model_type}, not a detector", do="give a Grounding DINO or OWLv2"
            )
        model = load_on(AutoModelForZeroShotObjectDetection, folder, device=device, dtype=dtype)
        processor = load_part(AutoProcessor, folder)
        return cls(model, processor, name=Path(folder).name, domain=load_domain(Path(folder)))

    @property
    def knows(self) -> str | None:
        """The only kind of images that the model was trained for, in words; None for a model without a limit."""
        return self._domain.known if self._domain else None

    def to(self, device: str) -> None:
        """Move the weights."""
        self.model.to(device)

    @torch.inference_mode()
    def candidates(
        self, images: Sequence[Image.Image], phrases: Sequence[str], *, cancellation: Cancellation = NEVER
    ) -> list[Candidates]:
        """Return every query's box with its score for each phrase.  cancellation: ends the work after a forward pass."""
        unknown = self._unknown(phrases)
        known = [phrase for phrase in phrases if phrase not in unknown]
        if not known:
            return [
                self._with_domain(Candidates(np.zeros((0, 4)), np.zeros((0, len(phrases))), unknown), each) for each in images
            ]
        columns = [phrases.index(phrase) for phrase in known]
        found: list[Candidates] = []
        for start in range(0, len(images), _BATCH):
            batch = list(images[start : start + _BATCH])
            parts = []
            for chunk in self._chunks(known):
                cancellation.check(_ACTION)
                parts.append(self._run(batch, chunk))
            for image, *of_image in zip(batch, *parts, strict=True):
                boxes = np.concatenate([each.boxes for each in of_image])
                scores = np.zeros((len(boxes), len(phrases)))
                row = column = 0
                for each in of_image:
                    rows, width = each.scores.shape
                    scores[row : row + rows, columns[column : column + width]] = each.scores
                    row, column = row + rows, column + width
                found.append(self._with_domain(Candidates(boxes, scores, unknown), image))
        return found

    @torch.inference_mode()
    def verdict(self, image: Image.Image) -> tuple[bool | None, tuple[str, ...]]:
        """Return whether an RGB image is in the detector's domain, None if unknown, and a note if it is not."""
        if self._domain is None:
            return None, ()
        within = self._domain.contains(image, lambda: self._maps(image))
        return within, () if within else (self._domain.note("what is found"),)

    def _with_domain(self, found: Candidates, image: Image.Image) -> Candidates:
        in_domain, notes = self.verdict(image)
        return replace(found, in_domain=in_domain, notes=notes)

    def _maps(self, image: Image.Image) -> list[Tensor]:
        inputs = self.processor(images=[image], text=["."], return_tensors="pt").to(self.model.device, self.model.dtype)
        return backbone_maps(self.model, inputs["pixel_values"])

    def _run(self, images: list[Image.Image], phrases: list[str]) -> list[Candidates]:
        grounded = self.model.config.model_type in GROUNDED
        text: Any = prompt_of(phrases) if grounded else phrases
        readable = [self._readable(image) for image in images]
        inputs = self.processor(images=readable, text=[text] * len(images), return_tensors="pt", padding=True)
        inputs = inputs.to(self.model.device, self.model.dtype)
        output = self.model(**inputs)
        scores = output.logits.float().sigmoid().cpu()
        if grounded:
            spans = token_spans(self.processor.tokenizer, phrases)
            scores = torch.stack([scores[..., span].amax(-1) for span in spans], -1)
        boxes = output.pred_boxes.float().cpu()
        return [
            Candidates(self._pixels(box, image.size), score.double().numpy())
            for box, score, image in zip(boxes, scores, images, strict=True)
        ]

    def _readable(self, image: Image.Image) -> Image.Image:
        """Return the image, shrunk if the processor would reduce it to nothing, or pad it to a square that exhausts memory."""
        size = self.processor.image_processor.size
        if self.model.config.model_type == "owlv2":
            return shrunk_to(image, _PADDED * max(size["height"], size["width"]))
        longest = size.get("longest_edge")
        return without_vanishing(image, longest) if longest else image

    def _pixels(self, cxcywh: Tensor, size_wh: tuple[int, int]) -> NDArray[np.float64]:
        """Convert (N, 4) fractions of the image, or of OWLv2's padded square, to pixel xyxy."""
        scale = (max(size_wh),) * 2 if self.model.config.model_type == "owlv2" else size_wh
        centre, half = cxcywh[:, :2].double(), cxcywh[:, 2:].double() / 2
        boxes: NDArray[np.float64] = (torch.cat([centre - half, centre + half], 1) * torch.tensor([*scale, *scale])).numpy()
        return boxes

    def _chunks(self, phrases: list[str]) -> list[list[str]]:
        """Split the phrases into groups that fit into the text encoder."""
        if self.model.config.model_type not in GROUNDED:
            return [phrases]
        room = int(self.model.config.max_text_len) - 2
        lengths = [len(self.processor.tokenizer(phrase, add_special_tokens=False)["input_ids"]) + 1 for phrase in phrases]
        chunks: list[list[str]] = [[]]
        left = room
        for phrase, length in zip(phrases, lengths, strict=True):
            if length > room:
                raise PromptTooLong(f"the phrase {escaped(phrase)} has {length} tokens", do=f"use at most {room - 1}")
            if length > left:
                chunks.append([])
                left = room
            chunks[-1].append(phrase)
            left -= length
        return chunks

    def _unknown(self, phrases: Sequence[str]) -> tuple[str, ...]:
        tokenizer = self.processor.tokenizer
        if tokenizer.unk_token_id in (None, tokenizer.eos_token_id):  # byte-level: every word can be encoded
            return ()
        return tuple(phrase for phrase in phrases if tokenizer.unk_token_id in tokenizer(phrase)["input_ids"])


def candidates_of(
    detector: PhraseDetector, images: Sequence[Image.Image], phrases: Sequence[str], cancellation: Cancellation
) -> list[Candidates]:
    """As `detector.candidates`, with cancellation between two steps; a detector without it gets one image at a time.

    Error: ModelOutputInvalid if the result is invalid.
    """
    method: Any = detector.candidates
    if takes_cancellation(method):
        return _checked(method(images, phrases, cancellation=cancellation), len(images), len(phrases))
    found: list[Candidates] = []
    for image in images:
        cancellation.check(_ACTION)
        found += _checked(method([image], phrases), 1, len(phrases))
    return found


def _checked(found: Any, num_images: int, num_phrases: int) -> list[Candidates]:
    """Return what a detector, possibly the user's own, returned, as arrays.  Error: ModelOutputInvalid."""
    do = f"return a Candidates for each image, with boxes (N, 4) and scores (N, {num_phrases})"
    if not isinstance(found, list | tuple) or len(found) != num_images or not all(isinstance(each, Candidates) for each in found):
        raise ModelOutputInvalid(f"the detector returned {escaped(found)} for {num_images} images", do=do)
    return [_as_arrays(each, num_phrases, do) for each in found]


def _as_arrays(found: Candidates, num_phrases: int, do: str) -> Candidates:
    try:
        boxes, scores = np.asarray(found.boxes, np.float64), np.asarray(found.scores, np.float64)
    except (TypeError, ValueError):
        raise ModelOutputInvalid("the detector returned boxes or scores that are not numbers", do=do) from None
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes), num_phrases):
        raise ModelOutputInvalid(f"the detector returned boxes {boxes.shape} and scores {scores.shape}", do=do)
    return replace(found, boxes=boxes, scores=scores)


def backbone_maps(model: Any, pixels: Tensor) -> list[Tensor]:
    """Return the feature maps of a Grounding DINO's backbone, each (B, C, h, w).  pixels: (B, 3, H, W), normalised."""
    return list(model.model.backbone.conv_encoder.model(pixels).feature_maps)


def prompt_of(phrases: Sequence[str]) -> str:
    """Return the text prompt for Grounding DINO: every phrase followed by a full stop."""
    return "".join(f"{phrase} . " for phrase in phrases).strip()


def token_spans(tokenizer: Any, phrases: Sequence[str]) -> list[list[int]]:
    """Return the positions of each phrase's tokens in `prompt_of(phrases)`; a phrase's score is the maximum over them."""
    offsets = tokenizer(prompt_of(phrases), return_offsets_mapping=True)["offset_mapping"]
    spans, start = [], 0
    for phrase in phrases:
        end = start + len(phrase)
        spans.append([index for index, (low, high) in enumerate(offsets) if start <= low and high <= end and low < high])
        start = end + len(" . ")
    return spans
