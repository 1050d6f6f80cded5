"""A detector and a segmenter that are held at a step, count their steps, and end where they are told to."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from roi_agent.model.detection.detector import Candidates
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask
from roi_agent.model.utils.cancellation import NEVER, Cancellation


class Steps:
    """The steps of a model.  `reached` is set at each, and none goes on until `go` is set.

    taken: steps so far.  ended: how many calls have ended, well or not.  cancellation: of the last call.
    """

    cancellation = NEVER

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.taken = self.ended = 0

    def step(self) -> None:
        self.taken += 1
        self.reached.set()
        assert self.go.wait(60)


class SteppingSegmenter(Steps):
    """A segmenter that takes a step for each prompt, and knows what a cancellation is."""

    name = "stepping"

    def masks(
        self,
        image: LoadedImage,
        prompts: Sequence[Prompt],
        *,
        several: bool = False,
        min_score: float | None = None,
        cancellation: Cancellation = NEVER,
    ) -> list[list[ScoredMask]]:
        self.cancellation, found = cancellation, []
        try:
            for prompt in prompts:
                cancellation.check("segmenting")
                self.step()
                found.append([ScoredMask(_disc(image, prompt), 0.9, 1.0)])
        finally:
            self.ended += 1
        return found

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        return ()


class PlainSegmenter(SteppingSegmenter):
    """As one of a user's own, which knows of no cancellation: a step for each call."""

    def masks(self, image: LoadedImage, prompts: Sequence[Prompt], *, several: bool = False, min_score: Any = None) -> Any:  # type: ignore[override]
        self.step()
        self.ended += 1
        return [[ScoredMask(_disc(image, prompt), 0.9, 1.0)] for prompt in prompts]


class SteppingDetector(Steps):
    """A detector that takes a step for each phrase, and knows what a cancellation is."""

    name, threshold = "stepping", 0.3

    def candidates(
        self, images: Sequence[Image.Image], phrases: Sequence[str], *, cancellation: Cancellation = NEVER
    ) -> list[Candidates]:
        self.cancellation = cancellation
        try:
            for _ in phrases:
                cancellation.check("detecting")
                self.step()
        finally:
            self.ended += 1
        return [Candidates(np.array([[1.0, 1, 9, 9]]), np.full((1, len(phrases)), 0.9)) for _ in images]


def _disc(image: LoadedImage, prompt: Prompt) -> Mask:
    x, y = prompt.points[0][:2] if prompt.points else (0, 0)
    ys, xs = np.mgrid[: image.size_wh[1], : image.size_wh[0]]
    return Mask.from_array(np.hypot(ys - y, xs - x) < 9)
