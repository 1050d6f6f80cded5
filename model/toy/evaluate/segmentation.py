"""Evaluate a segmenter on held-out scenes of the toy world: masks from boxes, from points, and without prompts.

The ground truth are the visible pixels of every thing. Each figure has a baseline with the prompts shuffled between the things
of a scene; for boxes, a second baseline is the filled box.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import load_image
from roi_agent.model.segmentation.segmenter import Prompt, PromptedSegmenter
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.samples.prompts import pixel_of
from roi_agent.model.toy.world.scenes import RenderedScene, make_scene, render

Bools = NDArray[np.bool_]

_RENDER_SIDE = 384  # pixels, as in `roi-agent scenes`
_FOUND_IOU = 0.5  # minimum IoU of a thing found without prompts

BOX, POINT, TWO_POINTS = "from a box", "from one point", "from a point on it and one off it"
EVERYTHING = "everything: things found"
GOALS = {BOX: 0.85, POINT: 0.75}


@dataclass(frozen=True, slots=True)
class MaskResult:
    """The result of one prompt: the IoU of the mask, of the mask of another thing's prompt, and of the filled box."""

    name: str
    iou: float
    shuffled: float | None = None
    filled_box: float | None = None


@dataclass(frozen=True, slots=True)
class SegmentationScore:
    """One row of the table, with shares in [0, 1], or None if not applicable.

    things: number of prompted things.  iou: mean IoU; for everything, the share of things that a mask matches with an IoU of 0.5.
    shuffled: mean IoU with the prompts of other things of the scene.  filled_box: mean IoU of the filled boxes.
    goal: minimum of iou.
    """

    name: str
    things: int
    iou: float
    shuffled: float | None
    filled_box: float | None
    goal: float | None

    @property
    def reached(self) -> bool:
        """Whether the row meets its goal; true without a goal."""
        return self.goal is None or self.iou >= self.goal

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


def evaluate_segmentation(
    segmenter: PromptedSegmenter,
    find_all: Callable[[Image.Image], Sequence[Mask]] | None = None,
    *,
    scenes: int = 200,
    first_seed: int = 0,
) -> Iterator[list[MaskResult]]:
    """Segment every thing in held-out scenes; yields the results of each scene.

    find_all: image -> masks of everything in it, without prompts; called for every fourth scene, because it is slow.
    scenes: number of scenes.  first_seed: seed of the first one.  Error: InvalidSetting if the seeds reach those of training.
    """
    if first_seed + scenes > TRAINING_SEEDS:
        problem = f"{scenes} scenes from seed {first_seed} on include training scenes"
        raise InvalidSetting(problem, do="lower the seed or the number of scenes")
    for seed in range(first_seed, first_seed + scenes):
        rendered = render(make_scene(seed), _RENDER_SIDE)
        results = list(_segment(segmenter, rendered, Random(seed)))
        if find_all is not None and seed % 4 == 0:
            masks = [mask.to_array() for mask in find_all(rendered.image)]
            best = [max((iou(mask, truth) for mask in masks), default=0.0) for truth in rendered.masks]
            results += [MaskResult(EVERYTHING, float(value >= _FOUND_IOU)) for value in best]
        yield results


def segmentation_scores(results: Sequence[MaskResult]) -> list[SegmentationScore]:
    """Return the table, with one row for each kind of prompt."""
    rows = []
    for name in dict.fromkeys(each.name for each in results):
        group = [each for each in results if each.name == name]
        shuffled, filled = [e.shuffled for e in group if e.shuffled is not None], [e.filled_box for e in group if e.filled_box]
        mean = float(np.mean([each.iou for each in group]))
        rows.append(SegmentationScore(name, len(group), mean, _mean(shuffled), _mean(filled), GOALS.get(name)))
    return rows


def iou(mask: Bools, truth: Bools) -> float:
    """Return the intersection over union of two masks (H, W), or 0 if both are empty."""
    either = int((mask | truth).sum())
    return int((mask & truth).sum()) / either if either else 0.0


def _segment(segmenter: PromptedSegmenter, rendered: RenderedScene, rng: Random) -> Iterator[MaskResult]:
    image, truths = load_image(rendered.image), rendered.masks
    boxes = [Box(*map(float, box)) for box in rendered.boxes]
    points = [(*pixel_of(truth, rng), True) for truth in truths]
    off = [(*pixel_of(~truth, rng), False) for truth in truths]
    asked = {
        BOX: [Prompt(box=box) for box in boxes],
        POINT: [Prompt(points=(point,)) for point in points],
        TWO_POINTS: [Prompt(points=pair) for pair in zip(points, off, strict=True)],
    }
    for name, prompts in asked.items():
        masks = [_mask_array(found[0].mask, truths[0].shape) for found in segmenter.masks(image, prompts)]
        others = [*masks[1:], masks[0]]
        for box, truth, mask, other in zip(boxes, truths, masks, others, strict=True):
            yield MaskResult(name, iou(mask, truth), iou(other, truth), iou(_box_mask(box), truth) if name == BOX else None)


def _mask_array(mask: Mask | None, shape: tuple[int, ...]) -> Bools:
    return mask.to_array() if mask is not None else np.zeros(shape, np.bool_)


def _box_mask(box: Box) -> Bools:
    filled = np.zeros((_RENDER_SIDE, _RENDER_SIDE), np.bool_)
    x1, y1, x2, y2 = map(round, box.xyxy)
    filled[y1:y2, x1:x2] = True
    return filled


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
