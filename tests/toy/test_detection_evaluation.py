"""Average precision and false boxes, on cases made by hand and with a detector that knows the truth."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from roi_agent.evaluation.toy import detection_markdown, detection_table, run_detection
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.evaluate.detection import (
    ALONE,
    EVERY,
    MEAN,
    ONE_OFF,
    OTHERWISE,
    UNKNOWN_WORD,
    DetectionScore,
    PhraseResult,
    average_precision,
    detection_scores,
    evaluate_detection,
    hits,
    ious,
)
from roi_agent.model.toy.questions.phrases import FORMS, Phrase
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene
from tests.phrases import true_of

A, B, C = [0.0, 0.0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9], [0.1, 0.0, 0.3, 0.2]


def boxes(*rows: list[float]) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("scores", "hit", "truths", "expected"),
    [
        ([0.9, 0.8], [True, True], 2, 1.0),
        ([0.9, 0.8], [True, False], 1, 1.0),  # what comes after all are found costs nothing
        ([0.9, 0.8], [False, True], 1, 0.5),
        ([0.9, 0.8], [True, True], 4, 0.5),
        ([0.9, 0.8, 0.7], [True, False, True], 2, 0.5 * 1 + 0.5 * 2 / 3),
        ([0.7, 0.9, 0.8], [True, True, False], 2, 0.5 * 1 + 0.5 * 2 / 3),  # in any order
        ([0.9, 0.8, 0.7], [False, True, True], 2, 2 / 3),  # the envelope: precision is better further on
        ([], [], 3, 0.0),
        ([], [], 0, 0.0),
    ],
)
def test_average_precision_is_the_area_under_the_envelope(
    scores: list[float], hit: list[bool], truths: int, expected: float
) -> None:
    assert average_precision(np.array(scores), np.array(hit, np.bool_), truths) == pytest.approx(expected)


def test_overlap_of_boxes() -> None:
    assert ious(boxes(A, B), boxes(A, C)) == pytest.approx(np.array([[1, 1 / 3], [0, 0]]))
    assert ious(boxes(), boxes(A)).shape == (0, 1)


@pytest.mark.parametrize(
    ("found", "scores", "truths", "expected"),
    [
        ([A, B], [0.9, 0.8], [B, A], [True, True]),
        ([A, A], [0.8, 0.9], [A], [False, True]),  # a second box for the same thing finds nothing
        ([C], [0.9], [A], [False]),
        ([A], [0.9], [], [False]),
        ([], [], [A], []),
        ([[0.0, 0.0, 0.2, 0.1], A], [0.9, 0.8], [A], [True, False]),  # one half is enough
    ],
)
def test_a_box_finds_one_thing_once(
    found: list[list[float]], scores: list[float], truths: list[list[float]], expected: list[bool]
) -> None:
    assert hits(boxes(*found), np.array(scores), boxes(*truths)).tolist() == expected


SCENE = Scene(0, (Thing("star", "blue", "small", tuple(A)), Thing("disc", "red", "large", tuple(B))))  # type: ignore[arg-type]


def looked(phrase: Phrase, score: float, *, alone: bool = False) -> PhraseResult:
    truths = boxes(*(list(SCENE.things[index].box) for index in phrase.found_in(SCENE)))
    return PhraseResult(SCENE, phrase, alone, truths, boxes(A), np.array([score]))


def test_absent_phrases_are_counted_by_how_they_are_wrong() -> None:
    rows = {
        row.name: row
        for row in detection_scores(
            [
                looked(Phrase("star", kind="star"), 0.9),
                looked(Phrase("red star", kind="star", colour="red"), 0.9),
                looked(Phrase("large star", kind="star", size="large"), 0.1),
                looked(Phrase("red fish", kind="fish", colour="red"), 0.5),
                looked(Phrase("green fish", kind="fish", colour="green"), 0.6),
                looked(Phrase("fish", kind="fish"), 0.49),
                looked(Phrase("zebra", kind="?"), 0.2),
                looked(Phrase("red star", kind="star", colour="red"), 0.8, alone=True),
            ],
            threshold=0.5,
        )
    }
    assert {name: (rows[name].phrases, rows[name].false_boxes) for name in (ONE_OFF, OTHERWISE, UNKNOWN_WORD, ALONE)} == {
        ONE_OFF: (3, pytest.approx(2 / 3)),
        OTHERWISE: (2, 0.5),
        UNKNOWN_WORD: (1, 0.0),
        ALONE: (1, 1.0),
    }
    assert (rows[EVERY].phrases, rows[EVERY].ap50, rows[EVERY].recall) == (7, 1.0, 1.0)
    assert rows[MEAN].ap50 == 1.0


def test_boxes_for_absent_phrases_count_against_the_average_precision() -> None:
    star, fish = looked(Phrase("star", kind="star"), 0.5), looked(Phrase("fish", kind="fish"), 0.9)
    rows = {row.name: row for row in detection_scores([star, fish], threshold=0.5)}
    assert rows[EVERY].ap50 == 0.5
    assert rows[MEAN].ap50 == 1.0, "a kind that is in no scene has no average precision"


def test_rows_without_any_thing_have_no_figures() -> None:
    rows = {row.name: row for row in detection_scores([looked(Phrase("fish", kind="fish"), 0.9)], threshold=0.5)}
    assert (rows[EVERY].ap50, rows[EVERY].recall, rows["colour"].ap50) == (None, None, None)


class Knowing:
    """A detector that reads the scene's truth; it answers every phrase with a score for each thing."""

    name, threshold = "knowing", 0.5

    def __init__(self, first_seed: int, *, blind: bool = False) -> None:
        self.seed, self.calls, self.blind = first_seed, 0, blind

    def candidates(self, images: Sequence[Image.Image], phrases: Sequence[str]) -> list[Candidates]:
        scene = make_scene(self.seed + self.calls // 2)  # every scene is asked twice
        self.calls += 1
        side = images[0].width
        scores = np.array(
            [[0.5 if self.blind else float(true_of(phrase, thing)) for phrase in phrases] for thing in scene.things]
        )
        return [Candidates(np.array([thing.box for thing in scene.things]) * side, scores)]


def test_who_knows_the_truth_gets_full_marks() -> None:
    rows = run_detection(Knowing(7), scenes=40, first_seed=7, show_progress=False)
    assert [row.name for row in rows] == [EVERY, *FORMS, MEAN, ONE_OFF, OTHERWISE, UNKNOWN_WORD, ALONE]
    assert all(row.ap50 in (None, 1.0) and row.recall in (None, 1.0) and row.false_boxes in (None, 0.0) for row in rows)
    assert all(row.reached for row in rows)


def test_who_says_everything_is_everywhere_finds_all_and_is_wrong_about_all_that_is_absent() -> None:
    rows = {row.name: row for row in run_detection(Knowing(7, blind=True), scenes=40, first_seed=7, show_progress=False)}
    assert rows[EVERY].recall == 1.0
    assert (rows[EVERY].ap50 or 1) < 0.6
    assert rows[ALONE].false_boxes == 1.0
    assert not rows[EVERY].reached
    assert not rows[ALONE].reached


def test_seeds_of_training_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="include training scenes"):
        next(evaluate_detection(Knowing(0), scenes=5, first_seed=TRAINING_SEEDS - 4))


def test_the_table_shows_every_row() -> None:
    rows = [DetectionScore(EVERY, 10, 0.95, 0.9, None, 0.9), DetectionScore(ONE_OFF, 5, None, None, 0.2, 0.05)]
    assert detection_table(rows, "x").row_count == 2
    assert detection_markdown(rows).splitlines()[2:] == [
        f"| {EVERY} | 10 | 95.0 | 90.0 |  | at least 90 |",
        f"| {ONE_OFF} | 5 |  |  | 20.0 | at most 5 |",
    ]
