"""Evaluate a detector on held-out scenes of the toy world: average precision and recall of phrases, and false boxes.

Each scene gets two prompts: 1 to 10 phrases, true and false ones mixed as in training, and a single phrase that is false by one
attribute. Each pair of phrase and scene is evaluated separately. Its ground truth are the boxes of all things that the phrase
describes, and every candidate box counts as a detection with the score of the phrase; no candidate is dropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roi_agent.model.detection.detector import PhraseDetector
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.phrases import FORMS, UNKNOWN, Phrase, make_phrases, swapped_phrase
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.art import KINDS
from roi_agent.model.toy.world.scenes import Scene, make_scene, render_image

Floats = NDArray[np.float64]

_IOU = 0.5
_MAX_PHRASES = 10  # in a prompt
_RENDER_SIDE = 384  # pixels, as in `roi-agent scenes`

# Rows over all phrases, and rows over phrases that describe nothing in the scene.
EVERY, MEAN = "every phrase", "mean of the 40 kinds"
ONE_OFF, OTHERWISE = "absent, one attribute off", "absent, otherwise"
UNKNOWN_WORD, ALONE = "absent, an unknown word", "absent, asked alone"
GOALS = {EVERY: 0.90, MEAN: 0.90, ONE_OFF: 0.05, OTHERWISE: 0.05, UNKNOWN_WORD: 0.05, ALONE: 0.05}


@dataclass(frozen=True, slots=True, eq=False)
class PhraseResult:
    """The detector's output for one phrase in one scene.

    alone: whether the prompt was this phrase only.  truths: (K, 4) xyxy in [0, 1], the boxes of the described things.
    boxes: (Q, 4) xyxy in [0, 1], scores: (Q), of all candidates.
    """

    scene: Scene
    phrase: Phrase
    alone: bool
    truths: Floats
    boxes: Floats
    scores: Floats


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """One row of the table, with shares in [0, 1], or None if not applicable.

    phrases: number of evaluated phrases.  ap50: average precision at an IoU of 0.5, with all-point interpolation.
    recall: share of described things found at the threshold.  false_boxes: share of absent phrases with a box at the threshold.
    goal: minimum of ap50, or maximum of false_boxes.
    """

    name: str
    phrases: int
    ap50: float | None
    recall: float | None
    false_boxes: float | None
    goal: float | None

    @property
    def reached(self) -> bool:
        """Whether the row meets its goal; true without a goal."""
        if self.goal is None:
            return True
        return self.ap50 >= self.goal if self.ap50 is not None else (self.false_boxes or 0.0) <= self.goal

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


def evaluate_detection(detector: PhraseDetector, *, scenes: int = 500, first_seed: int = 0) -> Iterator[list[PhraseResult]]:
    """Detect phrases in held-out scenes; yields the results of each scene.

    scenes: number of scenes.  first_seed: seed of the first one.  Error: InvalidSetting if the seeds reach those of training.
    """
    if first_seed + scenes > TRAINING_SEEDS:
        problem = f"{scenes} scenes from seed {first_seed} on include training scenes"
        raise InvalidSetting(problem, do="lower the seed or the number of scenes")
    for seed in range(first_seed, first_seed + scenes):
        scene, rng = make_scene(seed), Random(seed)
        image = Image.fromarray(render_image(scene, _RENDER_SIDE))
        mixed, single = make_phrases(scene, rng, rng.randint(1, _MAX_PHRASES)), [swapped_phrase(scene, rng)]
        yield [*_detect(detector, scene, image, mixed), *_detect(detector, scene, image, single, alone=True)]


def _detect(
    detector: PhraseDetector, scene: Scene, image: Image.Image, phrases: Sequence[Phrase], *, alone: bool = False
) -> Iterator[PhraseResult]:
    (found,) = detector.candidates([image], [phrase.text for phrase in phrases])
    for column, phrase in enumerate(phrases):
        truths = np.array([scene.things[thing].box for thing in phrase.found_in(scene)], np.float64).reshape(-1, 4)
        yield PhraseResult(scene, phrase, alone, truths, found.boxes / _RENDER_SIDE, found.scores[:, column])


def detection_scores(results: Sequence[PhraseResult], *, threshold: float) -> list[DetectionScore]:
    """Return the table: mixed prompts by the attributes that phrases name, the mean over kinds, then absent phrases.

    Boxes for absent phrases lower the average precision, like detections in an image without the class.
    """
    mixed = [each for each in results if not each.alone]
    absent = [each for each in mixed if not len(each.truths)]
    rows = [_present_row(EVERY, mixed, threshold)]
    rows += [_present_row(form, [each for each in mixed if each.phrase.form == form], threshold) for form in FORMS]
    by_kind = [[each for each in mixed if each.phrase.kind == kind] for kind in KINDS]
    values = [_pooled(group) for group in by_kind if any(len(each.truths) for each in group)]
    rows.append(_row(MEAN, sum(map(len, by_kind)), ap50=float(np.mean(values)) if values else 0.0))
    for name in (ONE_OFF, OTHERWISE, UNKNOWN_WORD):
        rows.append(_absent_row(name, [each for each in absent if _absence_kind(each) == name], threshold))
    rows.append(_absent_row(ALONE, [each for each in results if each.alone and not len(each.truths)], threshold))
    return rows


def hits(boxes: Floats, scores: Floats, truths: Floats, *, iou: float = _IOU) -> NDArray[np.bool_]:
    """Match boxes to truths greedily, by descending score and then by IoU; return whether each box has a match: (Q,).

    boxes: (Q, 4) xyxy.  scores: (Q).  truths: (K, 4) xyxy.
    """
    found = np.zeros(len(boxes), np.bool_)
    overlaps = ious(boxes, truths)
    for index in np.argsort(-scores, kind="stable") if len(truths) else ():
        best = overlaps[index].argmax()
        if overlaps[index, best] >= iou:
            found[index] = True
            overlaps[:, best] = -1.0
    return found


def ious(boxes: Floats, others: Floats) -> Floats:
    """Return the intersection over union of every pair of xyxy boxes: (N, 4), (M, 4) -> (N, M)."""
    least = np.maximum(boxes[:, None, :2], others[None, :, :2])
    most = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(most - least, 0, None).prod(-1)
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, others)]
    overlap: Floats = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)
    return overlap


def average_precision(scores: Floats, hit: NDArray[np.bool_], num_truths: int) -> float:
    """Return the area under the precision-recall curve, with all-point interpolation.

    scores: (Q).  hit: (Q), from `hits`.
    """
    if not num_truths:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hit[order])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hit[order]].sum() / num_truths)


def _pooled(results: Sequence[PhraseResult]) -> float:
    """Return the average precision over the detections of all phrases together."""
    if not results:
        return 0.0
    hit = np.concatenate([hits(each.boxes, each.scores, each.truths) for each in results])
    scores = np.concatenate([each.scores for each in results])
    return average_precision(scores, hit, sum(len(each.truths) for each in results))


def _present_row(name: str, results: Sequence[PhraseResult], threshold: float) -> DetectionScore:
    truths = sum(len(each.truths) for each in results)
    if not truths:
        return _row(name, len(results))
    found = sum(int((hits(each.boxes, each.scores, each.truths) & (each.scores >= threshold)).sum()) for each in results)
    return _row(name, len(results), ap50=_pooled(results), recall=found / truths)


def _absent_row(name: str, results: Sequence[PhraseResult], threshold: float) -> DetectionScore:
    given = sum(bool((each.scores >= threshold).any()) for each in results)
    return _row(name, len(results), false_boxes=given / max(1, len(results)))


def _row(
    name: str, phrases: int, *, ap50: float | None = None, recall: float | None = None, false_boxes: float | None = None
) -> DetectionScore:
    return DetectionScore(name, phrases, ap50, recall, false_boxes, GOALS.get(name))


def _absence_kind(result: PhraseResult) -> str:
    """Return the row of an absent phrase: one of several attributes off from some thing, an unknown word, or otherwise."""
    phrase = result.phrase
    asked = {name: getattr(phrase, name) for name in ("kind", "colour", "size") if getattr(phrase, name) is not None}
    if UNKNOWN in asked.values():
        return UNKNOWN_WORD
    off = min(sum(getattr(thing, name) != value for name, value in asked.items()) for thing in result.scene.things)
    return ONE_OFF if off == 1 and len(asked) > 1 else OTHERWISE
