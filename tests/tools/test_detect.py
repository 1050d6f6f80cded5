"""Detecting by words: what becomes a region, and functions of the user's own that detect."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from roi_agent import Box
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.errors import InvalidSetting, ModelFailed, ModelOutputInvalid, UnknownImage
from roi_agent.tools.detect import detect, detect_in
from tests.two_images import workspace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import supervision as sv


class Fixed:
    """A detector that gives what it is told: boxes, and a row of scores for each."""

    name, threshold = "fixed", 0.5

    def __init__(self, boxes: Any, scores: Any, unknown: tuple[str, ...] = ()) -> None:
        self.given = Candidates(np.array(boxes, float).reshape(-1, 4), np.array(scores, float), unknown)

    def candidates(self, images: Sequence[Image.Image], phrases: Sequence[str]) -> list[Candidates]:
        return [self.given] * len(images)


# What becomes a region


def test_found_things_are_labelled_scored_and_sorted() -> None:
    boxes = [[10, 10, 50, 50], [100, 20, 150, 80], [60, 60, 70, 70]]
    scores = [[0.6, 0.1], [0.2, 0.9], [0.4, 0.1]]
    filled = workspace()
    result = detect(filled, "star . red umbrella", detector=Fixed(boxes, scores), image="image1")
    assert [(r.name, r.label, r.score, r.box.xyxy) for r in result.regions] == [
        ("region1", "red umbrella", 0.9, (100, 20, 150, 80)),
        ("region2", "star", 0.6, (10, 10, 50, 50)),
    ]
    assert (result.regions[0].source, result.regions[0].prompt) == ("detect", "star . red umbrella")
    assert filled.regions() == result.regions
    assert result.sentence() == "2 found in image1: region1 (red umbrella, 0.90), region2 (star, 0.60)"


def test_nothing_found_says_what_was_looked_for_and_the_best_score() -> None:
    result = detect(workspace(), "star . moon", detector=Fixed([[0, 0, 5, 5]], [[0.31, 0.04]]), image="image1")
    assert result.regions == () and result.best_scores == {"star": 0.31, "moon": 0.04}
    assert result.sentence() == "nothing found in image1; no star (best score 0.31); no moon (best score 0.04)"
    assert detect(workspace(), "star", detector=Fixed([], np.zeros((0, 1))), image="image1").best_scores == {"star": 0.0}


def test_doubles_of_one_phrase_are_dropped_and_those_of_another_stay() -> None:
    boxes = [[0, 0, 40, 40], [1, 1, 41, 41], [0, 0, 40, 41]]
    detector = Fixed(boxes, [[0.9, 0.1], [0.8, 0.1], [0.1, 0.7]])
    assert [r.label for r in detect(workspace(), "star . moon", detector=detector, image="image1").regions] == ["star", "moon"]
    kept = detect(workspace(), "star . moon", detector=detector, image="image1", overlap=1.0)
    assert len(kept.regions) == 3


def test_boxes_over_the_edge_are_cut_and_those_outside_dropped() -> None:
    detector = Fixed([[-5, -5, 30, 30], [190, 90, 230, 130], [300, 300, 310, 310], [9, 9, 9, 9]], [[0.9]] * 4)
    result = detect(workspace(), "star", detector=detector, image="image1")
    assert {region.box.xyxy for region in result.regions} == {(0, 0, 30, 30), (190, 90, 200, 100)}


def test_the_best_are_kept_and_the_rest_is_counted() -> None:
    boxes = [[10 * i, 0, 10 * i + 5, 5] for i in range(8)]
    result = detect(workspace(), "star", detector=Fixed(boxes, [[0.9 - i / 50] for i in range(8)]), image="image1", max_regions=3)
    assert [region.box.x1 for region in result.regions] == [0, 10, 20]
    assert result.notes == ("5 more were left out: at most 3 are kept",)


def test_looking_again_gives_the_same_handles() -> None:
    filled = workspace()
    first = detect(filled, "star", detector=Fixed([[0, 0, 50, 50]], [[0.9]]), image="image1")
    again = detect(filled, "moon . star", detector=Fixed([[1, 0, 50, 51]], [[0.1, 0.8]]), image="image1")
    assert again.regions == first.regions == filled.regions()
    other = detect(filled, "star", detector=Fixed([[20, 0, 70, 50]], [[0.8]]), image="image1")
    assert [region.name for region in other.regions] == ["region2"]
    red = detect(filled, "red star", detector=Fixed([[0, 0, 50, 50]], [[0.8]]), image="image1")
    assert [region.name for region in red.regions] == ["region3"]


def test_what_is_found_in_a_crop_lies_in_the_image() -> None:
    filled = workspace()
    crop = filled.add_crop([50, 20, 120, 90], image="image1")
    (region,) = detect(filled, "star", detector=Fixed([[1, 2, 11, 12]], [[0.9]]), image=crop).regions
    assert (region.image, region.box) == ("image1", Box(51, 22, 61, 32))


def test_a_phrase_whose_boxes_fit_another_better_is_not_called_absent() -> None:
    result = detect(workspace(), "star . red star", detector=Fixed([[1, 2, 11, 12]], [[0.7, 0.9]]), image="image1")
    assert result.sentence().endswith("region1 (red star, 0.90); no box of its own for star (best score 0.70)")


def test_numpys_scores_count_as_scores() -> None:
    def find(image: Image.Image) -> list[dict[str, Any]]:
        return [{"box": [1, 1, 5, 5], "score": np.float32(0.1)}, {"box": [3, 3, 9, 9], "score": np.float32(0.9)}]

    (region,) = detect(workspace(), detector=find, image="image1", threshold=0.5).regions
    assert region.score == pytest.approx(0.9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["boxes", "scores"])
def test_a_detector_that_gives_nan_leaves_the_workspace_as_it_was(value: float, where: str) -> None:
    filled = workspace()
    boxes, scores = [[0.0, 0, 5, 5], [1.0, 1, 9, 9]], [[0.9], [0.8]]
    (boxes if where == "boxes" else scores)[1][0] = value
    with pytest.raises(ModelOutputInvalid, match="not finite"):
        detect(filled, "star", detector=Fixed(boxes, scores), image="image1")
    assert filled.regions() == ()


@pytest.mark.parametrize(
    "options", [{"threshold": 1.5}, {"threshold": float("nan")}, {"overlap": -1}, {"max_regions": 0}, {"max_regions": True}]
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        detect(workspace(), "star", detector=Fixed([[0, 0, 5, 5]], [[0.9]]), image="image1", **options)


def test_a_detector_needs_phrases_and_an_image() -> None:
    with pytest.raises(InvalidSetting, match="no phrase"):
        detect(workspace(), detector=Fixed([[0, 0, 5, 5]], [[0.9]]), image="image1")
    with pytest.raises(UnknownImage):
        detect(workspace(), "star", detector=Fixed([[0, 0, 5, 5]], [[0.9]]))
    with pytest.raises(InvalidSetting, match="a int is not a detector"):
        detect(workspace(), "star", detector=5, image="image1")


# A function of the user's own

BOXES = [[10.0, 10.0, 50.0, 50.0], [60.0, 20.0, 90.0, 80.0]]


@pytest.mark.parametrize(
    "function",
    [
        lambda image: BOXES,
        lambda image: tuple(BOXES),
        lambda image: np.array(BOXES),
        lambda image: torch.tensor(BOXES),
        lambda image: [Box(*box) for box in BOXES],
        lambda image: {"boxes": torch.tensor(BOXES), "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([3, 4])},
        lambda image: {"boxes": BOXES, "text_labels": ["a", "b"]},
        lambda image: sv.Detections(np.array(BOXES), confidence=np.array([0.9, 0.8]), class_id=np.array([0, 1])),
    ],
)
def test_one_function_is_a_detector(function: Callable[..., Any]) -> None:
    result = detect(workspace(), detector=function, image="image1")
    assert [list(region.box.xyxy) for region in result.regions] == BOXES
    assert result.regions[0].source == "detect" and result.phrases == ()


def test_a_function_may_take_the_phrases() -> None:
    def find(image: Image.Image, phrases: list[str]) -> list[dict[str, Any]]:
        return [{"box": BOXES[i], "label": phrase, "score": 0.5 + i / 10} for i, phrase in enumerate(phrases)]

    result = detect(workspace(), "star . moon", detector=find, image="image1", threshold=0.55)
    assert [(region.label, region.score) for region in result.regions] == [("moon", 0.6)]
    assert result.best_scores == {"star": 0.5, "moon": 0.6}


def test_a_function_without_phrases_is_filtered_by_its_labels() -> None:
    def find(image: Image.Image) -> dict[str, Any]:
        return {"boxes": BOXES, "labels": ["Star", "moon"]}

    result = detect(workspace(), "star", detector=find, image="image1")
    assert [region.label for region in result.regions] == ["Star"]


def test_what_is_unusable_is_left_out_and_reported_and_the_rest_is_kept() -> None:
    boxes = [
        [-0.4, -0.05, 200.3, 50],
        [10, 10, 10, 40],
        [20, 20, 60, 60],
        [150, 0, 250, 9],
        [5, 5, float("nan"), 9],
        [0, -1, 9, 101],
    ]

    def find(image: Image.Image) -> dict[str, Any]:
        return {"boxes": boxes, "scores": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], "labels": list("abcdef")}

    result = detect(workspace(), detector=find, image="image1")
    kept = [(region.label, region.box.xyxy) for region in result.regions]
    assert kept == [("a", (0, 0, 200, 50)), ("c", (20, 20, 60, 60)), ("f", (0, 0, 9, 100))]
    assert len(result.notes) == 3 and all(note.startswith("a find was left out: ") for note in result.notes)
    assert all(reason in note for reason, note in zip(("no area", "x2 is 250", "nan"), result.notes, strict=True))


def test_a_mask_that_is_empty_or_of_another_size_is_left_out_and_its_box_stays() -> None:
    good, empty = np.ones((100, 200), bool), np.zeros((100, 200), bool)

    def find(image: Image.Image) -> list[dict[str, Any]]:
        masks: list[dict[str, Any]] = [{"box": BOXES[0], "mask": empty}, {"mask": empty}, {"mask": good}]
        masks.append({"box": BOXES[1], "mask": good[:50]})
        return [{**each, "score": 0.9 - index / 10} for index, each in enumerate(masks)]

    result = detect(workspace(), detector=find, image="image1")
    assert [(list(region.box.xyxy), region.mask is not None) for region in result.regions] == [
        (BOXES[0], False),
        ([0, 0, 200, 100], True),
        (BOXES[1], False),
    ]
    assert sum("mask was left out" in note for note in result.notes) == 2 and len(result.notes) == 3


@pytest.mark.parametrize("soft", [torch.float32, torch.bfloat16])
def test_the_dictionary_of_torchvisions_mask_rcnn_is_taken(soft: torch.dtype) -> None:
    masks = torch.zeros(2, 1, 100, 200, dtype=soft)
    masks[0, 0, 10:50, 10:50], masks[1, 0, 20:80, 60:90], masks[1, 0, 0:5] = 0.9, 0.51, 0.49

    def find(image: Image.Image) -> dict[str, torch.Tensor]:
        scores = torch.tensor([0.9, 0.8], requires_grad=True)
        boxes = torch.tensor(BOXES, requires_grad=True)
        return {"boxes": boxes, "labels": torch.tensor([17, 3]), "scores": scores, "masks": masks.requires_grad_()}

    result = detect(workspace(), detector=find, image="image1")
    assert [(each.label, each.mask and each.mask.area) for each in result.regions] == [("17", 1600), ("3", 1800)]
    assert result.notes == ()


@pytest.mark.parametrize("label", [7, np.int64(7), torch.tensor(7), "7"])
def test_labels_are_kept_as_text(label: Any) -> None:
    (region,) = detect(workspace(), detector=lambda image: [{"box": BOXES[0], "label": label}], image="image1").regions
    assert region.label == "7"


def test_every_function_with_a_place_for_phrases_is_given_them() -> None:
    heard: list[Any] = []

    def optional(image: Image.Image, phrases: Any = None) -> list[Any]:
        heard.append(phrases)
        return []

    def by_name(image: Image.Image, *, phrases: Sequence[str] = ()) -> list[Any]:
        heard.append(phrases)
        return []

    def other(image: Image.Image, threshold: float = 0.5) -> list[Any]:
        heard.append(threshold)
        return []

    for function in (optional, by_name, other):
        detect(workspace(), "star . moon", detector=function, image="image1")
        detect(workspace(), detector=function, image="image1")
    assert heard == [["star", "moon"], None, ["star", "moon"], (), 0.5, 0.5]


def test_what_is_labelled_otherwise_than_asked_is_reported() -> None:
    def find(image: Image.Image) -> dict[str, Any]:
        return {"boxes": [*BOXES, [0, 0, 5, 5]], "labels": ["person", "Man ", "person"]}

    result = detect(workspace(), "man", detector=find, image="image1")
    assert [region.label for region in result.regions] == ["Man "]
    assert result.notes == ("2 more were found with other labels than requested",)
    assert result.sentence().endswith("; 2 more were found with other labels than requested; the other labels: person")
    assert result.to_dict()["others"] == ["person"]


def test_other_names_can_be_sent_and_are_short() -> None:
    found = [{"box": BOXES[0], "label": label} for label in ("\ud83d", "x" * 5000, "star")]
    result = detect(workspace(), "star", detector=lambda image: found, image="image1")
    assert len(result.sentence().encode()) < 500 and len(result.others) == 2


@pytest.mark.parametrize("labels", [[None, "star"], np.array([None, "star"], object)])
def test_a_list_of_one_dictionary_is_read_and_a_missing_label_is_none(labels: Any) -> None:
    result = detect(workspace(), detector=lambda image: [{"boxes": BOXES[:2], "labels": labels}], image="image1")
    assert [region.label for region in result.regions] == [None, "star"]


def test_a_fault_in_a_function_is_a_coded_error_that_keeps_its_cause() -> None:
    def find(image: Image.Image) -> list[Any]:
        raise ConnectionError("no route to host\nhttp://10.0.0.1")

    with pytest.raises(
        ModelFailed, match=r"the detector failed: ConnectionError: no route to host http://10\.0\.0\.1"
    ) as failure:
        detect(workspace(), detector=find, image="image1")
    assert isinstance(failure.value.__cause__, ConnectionError)


@pytest.mark.parametrize(
    "given,said",
    [
        ([[0, 0, float("nan"), 5]], "not"),
        ([[0, 0, 500, 5]], "500"),
        (np.zeros((2, 3)), "four numbers"),
        ("boxes", "list"),
        ({"boxes": BOXES, "scores": [0.1]}, "2 of box, 1 of score"),
        ([{"box": BOXES[0], "score": float("nan")}], "region1 has the score nan"),
        (None, "the detector returned None; return a list of boxes, empty if nothing is found"),
    ],
)
def test_what_a_function_gets_wrong_is_said_and_nothing_is_kept(given: Any, said: str) -> None:
    filled = workspace()
    answers = iter([BOXES, given])
    with pytest.raises(ModelOutputInvalid, match=said):
        detect_in(filled, ["image1", "image2"], detector=lambda image: next(answers))
    assert filled.regions() == ()
