"""Evaluation on the toy world: `roi-agent evaluate toy` as a function."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from roi_agent.evaluation.tables import markdown, table
from roi_agent.loading import load_region_model, load_role, placement
from roi_agent.model.detection.detector import PhraseDetector
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.segmentation.segmenter import PromptedSegmenter
from roi_agent.model.toy.evaluate.detection import DetectionScore, detection_scores, evaluate_detection
from roi_agent.model.toy.evaluate.questions import Score, evaluate_toy, scores, total_questions
from roi_agent.model.toy.evaluate.segmentation import SegmentationScore, evaluate_segmentation, segmentation_scores
from roi_agent.model.utils.progress import progress_bar
from roi_agent.model_choice import ModelChoice
from roi_agent.tools.segment import segment_everything
from roi_agent.tools.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Part:
    """The results of one role's model."""

    role: str
    rows: Sequence[Score | DetectionScore | SegmentationScore]
    table: Table
    markdown: str


def run_parts(
    choice: ModelChoice,
    roles: Sequence[str],
    *,
    questions: int,
    scenes: int,
    first_seed: int,
    show_progress: bool = True,
) -> list[Part]:
    """Score the models of these roles: ask, detect, segment.

    questions: per row of the region model's table.  scenes: for the detector; a third of them for the segmenter.
    """
    size: dict[str, Any] = {"first_seed": first_seed, "show_progress": show_progress}
    parts = []
    for role in roles:
        name = str(choice.by_role[role])
        if role == "ask":
            rows = run_toy(name, questions=questions, **placement("ask", choice), **size)
            parts.append(Part(role, rows, toy_table(rows, name), toy_markdown(rows)))
        elif role == "detect":
            found = run_detection(load_role("detect", choice), scenes=scenes, **size)
            parts.append(Part(role, found, detection_table(found, name), detection_markdown(found)))
        else:
            outlined = run_segmentation(load_role("segment", choice), scenes=max(1, scenes // 3), **size)
            parts.append(Part(role, outlined, segmentation_table(outlined, name), segmentation_markdown(outlined)))
    return parts


def run_toy(
    name: str | Path = "nano",
    *,
    questions: int = 500,
    first_seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    show_progress: bool = True,
) -> list[Score]:
    """Load a model and score it on held-out scenes of the toy world; see `model/toy/evaluate/questions.py`."""
    model = load_region_model(name, device=device, dtype=dtype)
    if not isinstance(model, LocalRegionModel):
        raise InvalidSetting(f"{name} does not run in this process", do="give nano or a folder")
    scored = []
    with progress_bar(show_progress) as progress:
        task = progress.add_task("asking", total=total_questions(questions))
        for batch in evaluate_toy(model, questions=questions, first_seed=first_seed):
            scored += batch
            progress.update(task, advance=len(batch))
    return scores(scored)


_TOY_HEADINGS = ("family", "questions", "accuracy", "goal", "chance", "shuffled boxes")


def toy_table(rows: list[Score], name: str) -> Table:
    """Return the scores as a table for a terminal."""
    reached = [row.goal is None or row.accuracy >= row.goal for row in rows]
    return table(f"Asking: {name}, exact match", _TOY_HEADINGS, [_toy_cells(row) for row in rows], reached)


def toy_markdown(rows: list[Score]) -> str:
    """Return the scores as a Markdown table, for documents and model cards."""
    return markdown(_TOY_HEADINGS, [_toy_cells(row) for row in rows])


def _toy_cells(row: Score) -> list[str]:
    goal = "" if row.goal is None else f"{100 * row.goal:.0f}"
    right, chance, shuffled = (f"{100 * share:.1f}" for share in (row.accuracy, row.chance, row.shuffled))
    return [row.name, str(row.questions), right, goal, chance, shuffled]


def run_detection(
    detector: PhraseDetector, *, scenes: int = 500, first_seed: int = 0, show_progress: bool = True
) -> list[DetectionScore]:
    """Score a detector on held-out scenes of the toy world, at its own threshold; see `model/toy/evaluate/detection.py`."""
    looked = []
    with progress_bar(show_progress) as progress:
        task = progress.add_task("looking", total=scenes)
        for found in evaluate_detection(detector, scenes=scenes, first_seed=first_seed):
            looked += found
            progress.update(task, advance=1)
    return detection_scores(looked, threshold=detector.threshold)


_DETECTION_HEADINGS = ("phrases", "number", "AP50", "recall", "false boxes", "goal")


def detection_table(rows: list[DetectionScore], name: str) -> Table:
    """Return the scores as a table for a terminal."""
    cells = [[row.name, str(row.phrases), *_detection_cells(row)] for row in rows]
    return table(f"Detecting: {name}", _DETECTION_HEADINGS, cells, [row.reached for row in rows])


def detection_markdown(rows: list[DetectionScore]) -> str:
    """Return the scores as a Markdown table, for documents and model cards."""
    return markdown(_DETECTION_HEADINGS, [[row.name, str(row.phrases), *_detection_cells(row)] for row in rows])


def _detection_cells(row: DetectionScore) -> list[str]:
    """Return AP50, recall, false boxes and goal in per cent, empty if there is none."""
    shares = ["" if value is None else f"{100 * value:.1f}" for value in (row.ap50, row.recall, row.false_boxes)]
    bound = "at least" if row.ap50 is not None else "at most"
    return [*shares, "" if row.goal is None else f"{bound} {100 * row.goal:.0f}"]


def run_segmentation(
    segmenter: PromptedSegmenter, *, scenes: int = 200, first_seed: int = 0, show_progress: bool = True
) -> list[SegmentationScore]:
    """Score a segmenter on held-out scenes of the toy world; see `model/toy/evaluate/segmentation.py`."""

    def find_all(image: Image.Image) -> list[Mask]:
        workspace = Workspace()
        workspace.add_image(image)
        return [region.mask for region in segment_everything(workspace, segmenter=segmenter).regions if region.mask]

    outlined = []
    with progress_bar(show_progress) as progress:
        task = progress.add_task("outlining", total=scenes)
        for found in evaluate_segmentation(segmenter, find_all, scenes=scenes, first_seed=first_seed):
            outlined += found
            progress.update(task, advance=1)
    return segmentation_scores(outlined)


_SEGMENTATION_HEADINGS = ("prompt", "objects", "mean IoU", "goal", "shuffled prompts", "filled box")


def segmentation_table(rows: list[SegmentationScore], name: str) -> Table:
    """Return the scores as a table for a terminal."""
    cells = [[row.name, str(row.things), *_segmentation_cells(row)] for row in rows]
    return table(f"Segmenting: {name}", _SEGMENTATION_HEADINGS, cells, [row.reached for row in rows])


def segmentation_markdown(rows: list[SegmentationScore]) -> str:
    """Return the scores as a Markdown table, for documents and model cards."""
    return markdown(_SEGMENTATION_HEADINGS, [[row.name, str(row.things), *_segmentation_cells(row)] for row in rows])


def _segmentation_cells(row: SegmentationScore) -> list[str]:
    values = (row.iou, row.goal, row.shuffled, row.filled_box)
    return ["" if value is None else f"{100 * value:.1f}" for value in values]
