"""Find regions by words, with a detector from transformers or any function of the user's own."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torchvision.ops import batched_nms

from roi_agent.model.detection.detector import Candidates, PhraseDetector, TransformersDetector, candidates_of, parse_phrases
from roi_agent.model.detection.original import as_detector
from roi_agent.model.errors import InvalidSetting, ModelOutputInvalid, RoiAgentError
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.exchange import region_items
from roi_agent.tools.finds import as_item, name_of, returned, score_of, usable
from roi_agent.tools.models import failures_of
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import ImageName, Workspace

MAX_REGIONS = 100  # found in one image, unless another number is given
_SAME = 0.85  # IoU from which a thing found again under the same name keeps its handle
_GENERIC = ("thing", "object", "item")
_NAMED = 5  # other labels that a sentence lists
_NAME = 80  # characters of one of them
_JOINT = re.compile(r"\s(?:and|or|&|\+)\s(?:(?:an?|the)\s)?")
OVERLAP = 0.6  # IoU from which the lower of two boxes of one phrase is dropped

# image -> boxes, or image and phrases -> boxes: an array (N, 4) of pixel xyxy, a list as `Workspace.add_regions` takes it,
# supervision.Detections, or a mapping with "boxes" and perhaps "scores" and "labels".
DetectorFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found in one image.

    image: its handle.  regions: the best first; empty where nothing passed the threshold.
    phrases: what was looked for; empty for a detector that takes none.  threshold: the score that a region needs.
    best_scores: for each phrase the highest score of any candidate, also below the threshold.
    notes: what the reader should know, such as how the image was read.
    unknown: phrases with words that are not in the detector's vocabulary; whether there is such a thing is not known.
    others: labels of what a function found and was not asked for.
    in_domain: whether the image is of the kind that the detector was trained on; None where that is not known.
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
        """Plain JSON values; a region has the keys that `parse_regions` reads."""
        return {
            "image": self.image,
            "regions": [region.to_dict() for region in self.regions],
            "phrases": list(self.phrases),
            "threshold": self.threshold,
            "best_scores": self.best_scores,
            "notes": list(self.notes),
            "in_domain": self.in_domain,
            "unknown": list(self.unknown),
            "others": list(self.others),
        }

    def sentence(self) -> str:
        """For example: 2 found in image1: region1 (red star, 0.93), region2 (star, 0.81); no umbrella (best score 0.04)."""
        named = [f"{region.name} ({_described(region)})" for region in self.regions]
        parts = [f"{len(named)} found in {self.image}: {', '.join(named)}" if named else f"nothing found in {self.image}"]
        labels = {region.label.lower() if region.label else None for region in self.regions}
        # A detector that labels nothing says nothing of single phrases; and whatever was found is a thing.
        told = {*labels, *self.unknown, *(filter(_is_generic, self.phrases) if self.regions else ())}
        missing = [phrase for phrase in self.phrases if phrase not in told and None not in labels]
        others = [f"the other names: {', '.join(self.others[:_NAMED])}"] if self.others else []
        return "; ".join([*parts, *map(self._missing, missing), *self.notes, *others])

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import regions_table, soft, stacked

        return stacked(soft(self.sentence()), regions_table(self.regions))

    def _missing(self, phrase: str) -> str:
        """A phrase above the threshold is not absent: its boxes fit another phrase better, or were left out."""
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
    """Look for phrases in one image; see `detect_in`."""
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
    """Look for the same phrases in several images, as one batch; what is found becomes regions of the workspace.

    detector: what `load_detector` returns, a live model of the groundingdino package, or a function (see DetectorFunction).
    phrases: "red umbrella . star ." or a list; a function that finds what it finds needs none, and what it labels otherwise
        is then dropped where phrases are given.
    threshold: lowest score, in [0, 1]; default: the detector's own.  overlap: IoU from which the lower-scored of two boxes of
        one phrase is dropped; 1 keeps all.  max_regions: for each image, the best.
    What a function finds is taken one by one: what reaches a pixel over the edge is cut, what is unusable is left out and told.
    cancellation: ends the work between two passes of the detector; nothing is then added.
    Errors: UnknownImage, InvalidSetting, PromptTooLong, ModelFailed for a detector that breaks, and ModelOutputInvalid for one
        that gives NaN or nothing that is usable; the workspace is then as it was.
    """
    _check_share("threshold", threshold)
    _check_share("overlap", overlap)
    if isinstance(max_regions, bool) or not isinstance(max_regions, int) or max_regions < 1:
        raise InvalidSetting(f"max_regions is {escaped(max_regions)}", do="give a whole number from 1")
    asked = () if phrases is None else parse_phrases(phrases)
    seen = [workspace.image(image) for image in images]
    finder = as_detector(detector)
    if not isinstance(finder, PhraseDetector):
        drafts = [_by_function(finder, each, asked, threshold, cancellation) for each in seen]
    else:
        if not asked:
            raise InvalidSetting("there is no phrase to look for", do='name things, for example "red umbrella . star ."')
        level = finder.threshold if threshold is None else threshold
        with failures_of("the detector"):
            found = candidates_of(finder, [each.pixels for each in seen], asked, cancellation)
        drafts = [
            _by_phrases(each, _as_whole(candidates, each, finder), asked, level, overlap)
            for each, candidates in zip(seen, found, strict=True)
        ]
    _check_drafts(seen, drafts)
    cancellation.check("detecting")
    return [draft.keep(workspace, each, asked, max_regions) for each, draft in zip(seen, drafts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Draft:
    """What was found in one image, not yet in the workspace: items for `add_regions`, the best first."""

    items: Any
    threshold: float
    best_scores: dict[str, float]
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    in_domain: bool | None = None

    def keep(self, workspace: Workspace, image: WorkspaceImage, phrases: tuple[str, ...], max_regions: int) -> Detection:
        items, notes = self.items, [*image.image.notes, *self.notes]
        if len(items) > max_regions:
            notes.append(f"{len(items) - max_regions} more were left out: at most {max_regions} are kept")
            items = items[:max_regions]
        prompt = " . ".join(phrases) or None
        regions = workspace.add_regions(items, image=image, source="detect", prompt=prompt, same_iou=_SAME)
        notes += _joined(set(phrases) - {region.label for region in regions})
        told: dict[str, Any] = {"in_domain": self.in_domain, "unknown": self.unknown, "others": self.others}
        return Detection(image.name, regions, phrases, self.threshold, self.best_scores, tuple(dict.fromkeys(notes)), **told)


def _by_phrases(image: WorkspaceImage, found: Candidates, phrases: tuple[str, ...], threshold: float, overlap: float) -> _Draft:
    boxes, scores = np.asarray(found.boxes, np.float64), np.asarray(found.scores, np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ModelOutputInvalid(f"the detector gave numbers that are not finite in {image.name}", do="use other weights or fp32")
    best = scores.max(0, initial=0.0)
    boxes = boxes.clip(0, np.tile(image.size_wh, 2))
    labels, top = scores.argmax(1), scores.max(1, initial=0.0)
    usable = (top >= threshold) & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    boxes, labels, top = boxes[usable], labels[usable], top[usable]
    kept = batched_nms(torch.from_numpy(boxes), torch.from_numpy(top), torch.from_numpy(labels), overlap).tolist()
    items = [{"box": boxes[i].tolist(), "label": phrases[labels[i]], "score": float(top[i])} for i in kept]
    unknown = [phrase for phrase in found.unknown if not _JOINT.search(phrase)]
    notes = (*found.notes, *(f"the detector never learned a word of {phrase!r}" for phrase in unknown))
    scored = dict(zip(phrases, map(float, best), strict=True))
    return _Draft(items, threshold, scored, notes, found.unknown, in_domain=found.in_domain)


def _as_whole(found: Candidates, image: WorkspaceImage, finder: PhraseDetector) -> Candidates:
    """What was found in a crop, judged as the image that it was cut from."""
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
    """Whatever the function gives, filtered by label and score where it names them."""
    cancellation.check("detecting")
    found, level = region_items(returned(function, image.pixels.copy(), phrases)), threshold or 0.0
    if not isinstance(found, list):
        return _Draft(found, 0.0, {})
    # A score that is not a number stays, to be told with the rest of what cannot be.
    items = sorted((item for item in map(as_item, found)), key=score_of, reverse=True)
    wanted = [item for item in items if not phrases or name_of(item) in (None, *phrases) or any(map(_is_generic, phrases))]
    best = {phrase: max((score_of(item) for item in wanted if _is(item, phrase)), default=0.0) for phrase in phrases}
    passed = [item for item in items if not score_of(item) < level]
    others = [_sendable(str(name_of(item))) for item in passed if not any(item is each for each in wanted)]
    kept, notes = usable([item for item in wanted if not score_of(item) < level], image.name, image.size_wh)
    if others:
        names = tuple(dict.fromkeys(others))
        # Notes reach the answer of an agent as doubts; labels are a stranger's text, and do not.
        notes.append(f"{len(others)} more {'was' if len(others) == 1 else 'were'} found under other names than asked for")
        return _Draft(kept, level, best, tuple(notes), others=names)
    return _Draft(kept, level, best, tuple(notes))


def _sendable(name: str) -> str:
    """A label of somebody else's as an answer can hold it."""
    return name[:_NAME].encode(errors="replace").decode()


def _is(item: dict[str, Any], phrase: str) -> bool:
    return name_of(item) == phrase or _is_generic(phrase)


def _is_generic(phrase: str) -> bool:
    """Whether anything that is found is one: "thing", "red thing"."""
    return phrase.split()[-1] in _GENERIC


def _joined(phrases: Iterable[str]) -> Iterator[str]:
    """What to do about phrases that were not found and hold several things; a detector reads each as one."""
    for phrase in sorted(phrases):
        if _JOINT.search(phrase):
            parted = " . ".join(filter(None, _JOINT.split(phrase)))
            yield f'"{phrase}" is looked for as one thing: to look for several, part them with full stops, "{parted}"'


def _check_drafts(images: Sequence[WorkspaceImage], drafts: Sequence[_Draft]) -> None:
    """Try everything in a workspace that is thrown away, so that a fault in the last image undoes nothing."""
    for image, draft in zip(images, drafts, strict=True):
        trial = Workspace()
        try:
            trial.add_regions(draft.items, image=trial.add_image(image.image))
        except RoiAgentError as error:
            problem = f"the detector's regions in {image.name} cannot be used: {error.problem}"
            raise ModelOutputInvalid(problem, do=error.do) from None


def _described(region: Region) -> str:
    return ", ".join([region.label or "thing", *([f"{region.score:.2f}"] if region.score is not None else [])])


def _check_share(what: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
        raise InvalidSetting(f"the {what} is {escaped(value)}", do="give 0 to 1")
