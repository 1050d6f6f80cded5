"""Work that was cancelled, or whose time is over, ends at its next step and adds nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roi_agent import Workspace
from roi_agent.model.detection.detector import TransformersDetector
from roi_agent.model.errors import Cancelled, DeadlineExceeded
from roi_agent.model.segmentation.original import as_segmenter
from roi_agent.model.segmentation.segmenter import ScoredMask, TransformersSegmenter
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.tools.detect import detect, detect_in
from roi_agent.tools.segment import point_at, segment, segment_everything
from tests import tiny
from tests.original_sam import original_sam
from tests.stepping import PlainSegmenter, SteppingDetector

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)


class After(Cancellation):
    """Cancelled once it was checked so often."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.checks, self.left = 0, checks

    def check(self, doing: str) -> None:
        self.checks += 1
        if self.checks > self.left:
            self.cancel()
        super().check(doing)


def workspace() -> Workspace:
    filled = Workspace()
    filled.add_image(PIXELS)
    return filled


def test_a_cancellation_is_checked() -> None:
    stop = Cancellation()
    stop.check("working")
    assert stop.left_s is None and 0 <= stop.step_s < 60
    stop.cancel()
    with pytest.raises(Cancelled, match="cancelled while working"):
        stop.check("working")
    with pytest.raises(DeadlineExceeded, match="the time limit of 1e-09 seconds expired while working; allow more time"):
        Cancellation(1e-9).check("working")


SEGMENTERS: dict[str, Callable[[], Any]] = {
    "sam": lambda: TransformersSegmenter(*tiny.sam()),
    "sam2": lambda: TransformersSegmenter(*tiny.sam2()),
    "segment-anything": lambda: as_segmenter(original_sam()),
    "user's": lambda: opened(PlainSegmenter()),
}


def opened(model: Any) -> Any:
    model.go.set()
    return model


WORK: dict[str, Callable[..., Any]] = {
    "everything": lambda held, **more: segment_everything(held, points_per_side=8, min_score=0.0, min_stability=0.0, **more),
    "boxes": lambda held, **more: segment(held, boxes=[[n, 0, n + 20, 20] for n in range(40)], **more),
    "points": lambda held, **more: point_at(held, [(n, 20) for n in range(40)], **more),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenting_ends_between_two_steps(name: str, work: str) -> None:
    segmenter, held = SEGMENTERS[name](), workspace()
    all_checks = After(10**9)
    found = WORK[work](held, segmenter=segmenter, cancellation=all_checks)
    assert found and all_checks.checks > 2
    before = held.regions()
    for checks in {0, 1, all_checks.checks // 2, all_checks.checks - 1}:
        stop = After(checks)
        with pytest.raises(Cancelled, match="segmenting"):
            WORK[work](held, segmenter=segmenter, cancellation=stop)
        assert stop.checks == checks + 1 and held.regions() == before
    with pytest.raises(DeadlineExceeded, match="segmenting"):
        WORK[work](held, segmenter=segmenter, cancellation=Cancellation(1e-9))


def test_no_step_of_segmenting_builds_more_than_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time between two checks does not grow with the number of prompts."""
    segmenter, built = TransformersSegmenter(*tiny.sam()), list[ScoredMask]()
    build = segmenter._to_mask

    def counted(*given: Any) -> ScoredMask:
        built.append(build(*given))
        return built[-1]

    monkeypatch.setattr(segmenter, "_to_mask", counted)

    class Watching(Cancellation):
        most = last = 0

        def check(self, doing: str) -> None:
            self.most, self.last = max(self.most, len(built) - self.last), len(built)

    stop = Watching()
    segment_everything(workspace(), segmenter=segmenter, points_per_side=8, min_score=0.0, cancellation=stop)
    assert len(built) > 20 and stop.most == 1


def test_detecting_ends_between_two_passes(tmp_path: Path) -> None:
    detector, held = TransformersDetector(*tiny.grounding_dino(tmp_path)), workspace()
    phrases = [f"{colour} {size} star" for colour in ("red", "blue") for size in ("large", "a", "the", "red", "blue", "star")]
    passes = 0
    forward = detector.model.forward

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal passes
        passes += 1
        return forward(*given, **more)

    detector.model.forward = counted
    detect(held, phrases, detector=detector, threshold=0.0, cancellation=After(10**9))
    whole, before = passes, held.regions()
    assert whole >= 2
    for checks in range(whole):
        passes = 0
        with pytest.raises(Cancelled, match="detecting"):
            detect(held, phrases, detector=detector, threshold=0.0, cancellation=After(checks))
        assert passes == checks and held.regions() == before


@pytest.mark.parametrize("kind", ["function", "plain", "stepping"])
def test_detectors_of_any_kind_end_between_two_images(kind: str) -> None:
    class Plain(SteppingDetector):
        def candidates(self, images: Any, phrases: Any) -> Any:  # type: ignore[override]
            return super().candidates(images, phrases)

    made: dict[str, Any] = {"function": lambda image: [[1, 1, 9, 9]], "plain": Plain(), "stepping": SteppingDetector()}
    detector = opened(made[kind]) if kind != "function" else made[kind]
    held = workspace()
    held.add_image(PIXELS[::-1])
    phrases = None if kind == "function" else ["star"]
    with pytest.raises(Cancelled, match="detecting"):
        detect_in(held, ["image1", "image2"], phrases, detector=detector, cancellation=After(1))
    assert held.regions() == ()
    detect_in(held, ["image1", "image2"], phrases, detector=detector, cancellation=After(10**9))
