"""Detection of regions by phrases, with a detector from transformers or a user's own function."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torchvision.ops import batched_nms

from roi_agent.model.detection.detector import Candidates, PhraseDetector, TransformersDetector, candidates_of, parse_phrases
from roi_agent.model.detection.original import as_detector
from roi_agent.model.errors import InvalidSetting, ModelOutputInvalid
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.exchange import region_items
from roi_agent.tools.finds import as_item, call_detector, label_of, score_of, unusable, usable_regions
from roi_agent.tools.models import failures_of
from roi_agent.tools.new_regions import parse_new_regions
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import ImageName, Workspace

MAX_REGIONS = 100  # default number of regions per image
_SAME_FIND_IOU = 0.85  # IoU from which a region that is found again with the same label keeps its handle
_GENERIC = ("thing", "object", "item")
_MAX_LISTED = 5  # other labels in a sentence
_MAX_LABEL_CHARACTERS = 80  # of a label in a sentence
_CONJUNCTION = re.compile(r"\s(?:and|or|&|\+)\s(?:(?:an?|the)\s)?")
OVERLAP = 0.6  # IoU from which the lower-scored of two boxes of one phrase is dropped

# image -> boxes, or image and phrases -> boxes: an array (N, 4) of pixel xyxy, a list that `Workspace.add_regions` accepts,
# supervision.Detections, or a mapping with "boxes" and optionally "scores" and "labels".
DetectorFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Detection:
    """The regions that were detected in one image.

    image: its handle.  regions: the best first; empty if nothing reached the threshold.
    phrases: what was searched for; empty for a detector that takes no phrases.  threshold: the minimum score of a region.
    best_scores: for each phrase, the highest score of any candidate, even below the threshold.
    notes: remarks for the reader, such as how the image was read.
    unknown: phrases with words outside the detector's vocabulary; whether the image shows these is not known.
    others: labels that a function returned but that were not requested.
    in_domain: whether the image is of the kind that the detector was trained on; None if that is not known.
    """

    image: str
    regions: tuple[Region, ...]
    phrases: tuple[str, ...]
    threshold: float
    best_scores: dict[str, float]
    notes: tuple[str, ...] = ()
    in_domain: bool | None = None
    unknown: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; regions have the keys that `parse_regions` reads."""
        return {
            "image": self.image,
            "regions": [region.to_dict() for region in self.regions],
            "phrases": list(self.phrases),
            "threshold": self.threshold,
            "best_scores": self.best_scores,
            "notes": list(map(str, self.notes)),
            "in_domain": self.in_domain,
            "unknown": list(self.unknown),
            "others": list(self.others),
        }

    def sentence(self) -> str:
        """Summarize: 2 found in image1: region1 (red star, 0.93), region2 (star, 0.81); no umbrella (best score 0.04)."""
        named = [f"{region.name} ({_described(region)})" for region in self.regions]
        parts = [f"{len(named)} found in {self.image}: {', '.join(named)}" if named else f"nothing found in {self.image}"]
        labels = {region.label.lower() if region.label else None for region in self.regions}
        # A detector without labels reports nothing about single phrases, and everything that was found is a "thing".
        reported = {*labels, *self.unknown, *(filter(_is_generic, self.phrases) if self.regions else ())}
        missing = [phrase for phrase in self.phrases if phrase not in reported and None not in labels]
        others = [f"the other labels: {', '.join(self.others[:_MAX_LISTED])}"] if self.others else []
        return "; ".join([*parts, *map(self._missing, missing), *self.notes, *others])

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import regions_table, soft, stacked

        return stacked(soft(self.sentence()), regions_table(self.regions))

    def _missing(self, phrase: str) -> str:
        """Describe a phrase without a region; one above the threshold is not absent, its boxes match another phrase better."""
        score = self.best_scores[phrase]
        return f"{'no' if score <= self.threshold else 'no box of its own for'} {phrase} (best score {score:.2f})"


def detect(
    workspace: Workspace,
    phrases: object = None,
    *,
    detector: object,
    image: ImageName = None,
    threshold: float | None = None,
    overlap: float = OVERLAP,
    max_regions: int = MAX_REGIONS,
    cancellation: Cancellation = NEVER,
) -> Detection:
    """Detect phrases in one image; see `detect_in`."""
    return detect_in(
        workspace,
        [workspace.image(image)],
        phrases,
        detector=detector,
        threshold=threshold,
        overlap=overlap,
        max_regions=max_regions,
        cancellation=cancellation,
    )[0]


def detect_in(
    workspace: Workspace,
    images: Sequence[ImageName],
    phrases: object = None,
    *,
    detector: object,
    threshold: float | None = None,
    overlap: float = OVERLAP,
    max_regions: int = MAX_REGIONS,
    cancellation: Cancellation = NEVER,
) -> list[Detection]:
    """Detect the same phrases in several images, as one batch; the finds become regions of the workspace.

    detector: the result of `load_detector`, a live model of the groundingdino package, or a function (see DetectorFunction).
    phrases: "red umbrella . star ." or a list. A function with fixed labels needs none; if phrases are given, its other
        labels are dropped.
    threshold: minimum score, in [0, 1]; default: the detector's own.  overlap: IoU from which the lower-scored of two boxes of
        one phrase is dropped; 1 keeps all.  max_regions: per image; the best are kept.
    The finds of a function are checked one by one. Boxes up to a pixel over the border are clipped, and unusable finds are left
    out with a note.
    cancellation: ends the work between two passes of the detector; nothing is added then.
    Errors: UnknownImage, InvalidSetting, PromptTooLong, ModelFailed if the detector fails, and ModelOutputInvalid if it returns
        NaN or nothing usable. The workspace is unchanged after an error.
    """
    _check_share("threshold", threshold)
    _check_share("overlap", overlap)
    if isinstance(max_regions, bool) or not isinstance(max_regions, int) or max_regions < 1:
        raise InvalidSetting(f"max_regions is {escaped(max_regions)}", do="give a whole number from 1")
    wanted_phrases = () if phrases is None else parse_phrases(phrases)
    targets = [workspace.image(image) for image in images]
    finder = as_detector(detector)
    if not isinstance(finder, PhraseDetector):
        drafts = [_by_function(finder, each, wanted_phrases, threshold, cancellation) for each in targets]
    else:
        if not wanted_phrases:
            raise InvalidSetting("there is no phrase to look for", do='name things, for example "red umbrella . star ."')
        level = finder.threshold if threshold is None else threshold
        with failures_of("the detector"):
            found = candidates_of(finder, [each.pixels for each in targets], wanted_phrases, cancellation)
        drafts = [
            _by_phrases(each, _with_whole_image_verdict(candidates, each, finder), wanted_phrases, level, overlap)
            for each, candidates in zip(targets, found, strict=True)
        ]
    cancellation.check("detecting")
    return [draft.add_to(workspace, each, wanted_phrases, max_regions) for each, draft in zip(targets, drafts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Draft:
    """Checked finds in one image that are not in the workspace yet, the best first."""

    regions: Sequence[Region]
    threshold: float
    best_scores: dict[str, float]
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    in_domain: bool | None = None

    def add_to(self, workspace: Workspace, image: WorkspaceImage, phrases: tuple[str, ...], max_regions: int) -> Detection:
        notes = [*image.image.notes, *self.notes]
        if (left_out := len(self.regions) - max_regions) > 0:
            notes.append(f"{left_out} more were left out: at most {max_regions} are kept")
        prompt, best = " . ".join(phrases) or None, self.regions[:max_regions]
        regions = workspace.keep_regions(best, image=image, source="detect", prompt=prompt, same_iou=_SAME_FIND_IOU)
        notes += _joint_phrase_notes(set(phrases) - {region.label for region in regions})
        options: dict[str, Any] = {"in_domain": self.in_domain, "unknown": self.unknown, "others": self.others}
        return Detection(image.name, regions, phrases, self.threshold, self.best_scores, tuple(dict.fromkeys(notes)), **options)


def _by_phrases(image: WorkspaceImage, found: Candidates, phrases: tuple[str, ...], threshold: float, overlap: float) -> _Draft:
    boxes, scores = np.asarray(found.boxes, np.float64), np.asarray(found.scores, np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ModelOutputInvalid(
            f"the detector returned numbers that are not finite in {image.name}", do="use other weights or fp32"
        )
    best = scores.max(0, initial=0.0)
    boxes = boxes.clip(0, np.tile(image.size_wh, 2))
    labels, top = scores.argmax(1), scores.max(1, initial=0.0)
    usable = (top >= threshold) & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    boxes, labels, top = boxes[usable], labels[usable], top[usable]
    kept = batched_nms(torch.from_numpy(boxes), torch.from_numpy(top), torch.from_numpy(labels), overlap).tolist()
    regions = [Region("region1", Box(*boxes[i].tolist()), phrases[labels[i]], float(top[i])) for i in kept]
    unknown = [phrase for phrase in found.unknown if not _CONJUNCTION.search(phrase)]
    notes = (*found.notes, *(f"the detector does not know a word of {phrase!r}" for phrase in unknown))
    scored = dict(zip(phrases, map(float, best), strict=True))
    return _Draft(regions, threshold, scored, notes, found.unknown, in_domain=found.in_domain)


def _with_whole_image_verdict(found: Candidates, image: WorkspaceImage, finder: PhraseDetector) -> Candidates:
    """Return the candidates of a crop with the domain verdict of the whole image."""
    if image.image.whole is None or not isinstance(finder, TransformersDetector):
        return found
    in_domain, notes = finder.verdict(image.image.whole.pixels)
    return replace(found, in_domain=in_domain, notes=notes)


def _by_function(
    function: DetectorFunction,
    image: WorkspaceImage,
    phrases: tuple[str, ...],
    threshold: float | None,
    cancellation: Cancellation,
) -> _Draft:
    """Run a user's function and filter its finds by label and score, if it has them."""
    cancellation.check("detecting")
    found, level = region_items(call_detector(function, image.pixels.copy(), phrases)), threshold or 0.0
    if not isinstance(found, list):
        with unusable(image.name):
            return _Draft(parse_new_regions(found, size_wh=image.size_wh), 0.0, {})
    # An invalid score stays here; it is reported below with all other faults.
    items = sorted((item for item in map(as_item, found)), key=score_of, reverse=True)
    wanted = [item for item in items if not phrases or label_of(item) in (None, *phrases) or any(map(_is_generic, phrases))]
    best = {phrase: max((score_of(item) for item in wanted if _matches(item, phrase)), default=0.0) for phrase in phrases}
    passed = [item for item in items if not score_of(item) < level]
    others = [_short_label(str(label_of(item))) for item in passed if not any(item is each for each in wanted)]
    kept, notes = usable_regions([item for item in wanted if not score_of(item) < level], image.name, image.size_wh)
    if others:
        names = tuple(dict.fromkeys(others))
        # Notes become doubts of an agent's answer. Labels are untrusted text and must not.
        notes.append(f"{len(others)} more {'was' if len(others) == 1 else 'were'} found with other labels than requested")
        return _Draft(kept, level, best, tuple(notes), others=names)
    return _Draft(kept, level, best, tuple(notes))


def _short_label(name: str) -> str:
    """Return an untrusted label, shortened and without lone surrogates."""
    return name[:_MAX_LABEL_CHARACTERS].encode(errors="replace").decode()


def _matches(item: dict[str, Any], phrase: str) -> bool:
    return label_of(item) == phrase or _is_generic(phrase)


def _is_generic(phrase: str) -> bool:
    """Whether every find matches the phrase: "thing", "red thing"."""
    return phrase.split()[-1] in _GENERIC


def _joint_phrase_notes(phrases: Iterable[str]) -> Iterator[str]:
    """Yield advice for phrases that were not found and name several things, since a detector reads each as one."""
    for phrase in sorted(phrases):
        if _CONJUNCTION.search(phrase):
            separated = " . ".join(filter(None, _CONJUNCTION.split(phrase)))
            yield f'"{phrase}" is searched for as one thing; to search for several, separate them with full stops: "{separated}"'


def _described(region: Region) -> str:
    return ", ".join([region.label or "thing", *([f"{region.score:.2f}"] if region.score is not None else [])])


def _check_share(what: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise InvalidSetting(f"the {what} is {escaped(value)}", do="give 0 to 1")
