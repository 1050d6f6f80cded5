"""From points, boxes and masks to masks: real SAM classes with tiny random weights, the original package, and bad input."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roi_agent import Box, Workspace
from roi_agent.model.errors import (
    BoxOutOfBounds,
    InvalidSetting,
    MaskInvalid,
    ModelNotFound,
    ModelOutputInvalid,
    PointInvalid,
    UnknownRegion,
)
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.segmentation.original import OriginalSegmenter, as_segmenter
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask, TransformersSegmenter
from roi_agent.tools.segment import segment, segment_everything
from tests import tiny
from tests.original_sam import original_sam

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from segment_anything import SamPredictor

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)
IMAGE = load_image(PIXELS)
DISC = Mask.from_array(np.hypot(*np.mgrid[-30:30, -50:50]) < 20)
PROMPTS = [
    Prompt(points=((50, 30, True),)),
    Prompt(box=Box(10, 10, 50, 50)),
    Prompt(points=((5, 5, True), (9, 9, False)), box=Box(0, 0, 20, 20)),
    Prompt(mask=DISC),
    Prompt(box=Box(20, 0, 50, 50)),
    Prompt(points=((5, 5, True), (9, 9, False)), mask=DISC),
]


@pytest.fixture(scope="module", params=["sam", "sam2", "segment-anything"])
def segmenter(request: pytest.FixtureRequest) -> Any:
    if request.param == "segment-anything":
        return as_segmenter(original_sam())
    return TransformersSegmenter(*(tiny.sam() if request.param == "sam" else tiny.sam2()))


class Discs:
    """A segmenter whose masks are discs of radius 9 around what is pointed at; nothing where the middle is in the corner."""

    name = "discs"

    def __init__(self, score: float = 0.9) -> None:
        self.score = score
        self.asked: list[Prompt] = []

    def masks(
        self, image: LoadedImage, prompts: Sequence[Prompt], *, several: bool = False, min_score: float | None = None
    ) -> list[list[ScoredMask]]:
        self.asked += prompts
        found = [[self._disc(image, prompt, 9 - i) for i in range(3 if several else 1)] for prompt in prompts]
        return [[disc for disc in discs if min_score is None or not disc.score < min_score] for discs in found]

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        return ()

    def _disc(self, image: LoadedImage, prompt: Prompt, radius: int) -> ScoredMask:
        x, y = prompt.points[0][:2] if prompt.points else (prompt.box or DISC.box).centre
        ys, xs = np.mgrid[: image.size_wh[1], : image.size_wh[0]]
        inside = np.hypot(ys - y, xs - x) < radius
        return ScoredMask(None if x + y < 5 else Mask.from_array(inside), self.score - radius / 100, 1.0)


def workspace() -> Workspace:
    filled = Workspace()
    filled.add_image(PIXELS)
    filled.add_regions([{"box": [10, 10, 30, 30], "label": "star"}, [40, 20, 90, 50]])
    return filled


# Segmenters


def test_masks_below_a_score_are_not_even_built(segmenter: Any) -> None:
    for all_three in segmenter.masks(IMAGE, PROMPTS[:3], several=True):
        scores = [found.score for found in all_three]
        assert scores == sorted(scores, reverse=True)
    (three,) = segmenter.masks(IMAGE, PROMPTS[:1], several=True)
    (two,) = segmenter.masks(IMAGE, PROMPTS[:1], several=True, min_score=three[1].score)
    assert two == three[:2] and segmenter.masks(IMAGE, PROMPTS[:1], several=True, min_score=2.0) == [[]]


def test_alone_or_together_gives_the_same_masks(segmenter: Any) -> None:
    together = segmenter.masks(IMAGE, PROMPTS, several=True)
    for prompt, masks in zip(PROMPTS, together, strict=True):
        (alone,) = segmenter.masks(IMAGE, [prompt], several=True)
        assert [each.mask for each in alone] == [each.mask for each in masks]
        assert [each.score for each in alone] == pytest.approx([each.score for each in masks], abs=1e-6)
        assert len(masks) == 3 and masks[0].score >= masks[1].score >= masks[2].score
        assert all(each.mask is None or each.mask.size_wh == IMAGE.size_wh for each in masks)


def test_one_mask_is_asked_for_unless_one_point_may_mean_several_things(segmenter: Any) -> None:
    point, box = segmenter.masks(IMAGE, PROMPTS[:2])
    assert len(point) == len(box) == 1
    assert point[0] == segmenter.masks(IMAGE, PROMPTS[:1], several=True)[0][0]


def test_an_image_is_encoded_once() -> None:
    ours = TransformersSegmenter(*tiny.sam())
    for _ in range(3):
        ours.masks(IMAGE, PROMPTS)
        ours.masks(load_image(PIXELS.copy()), PROMPTS[:1])
    assert ours.images_encoded == 1
    ours.masks(load_image(PIXELS[::-1].copy()), PROMPTS[:1])
    assert ours.images_encoded == 2


def test_masks_equal_those_of_the_library() -> None:
    model, processor = tiny.sam()
    inputs = processor(IMAGE.pixels, input_boxes=[[[10.0, 10.0, 50.0, 50.0]]], input_points=[[[30, 30]]], return_tensors="pt")
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    inputs["input_points"], inputs["input_boxes"] = inputs["input_points"].float(), inputs["input_boxes"].float()
    with torch.inference_mode():
        output = model(**inputs, multimask_output=False)
    theirs = processor.post_process_masks(output.pred_masks, *sizes)[0][0, 0].numpy()
    ours = TransformersSegmenter(model, processor).masks(IMAGE, [Prompt(((30, 30, True),), Box(10, 10, 50, 50))])[0][0]
    assert ours.mask is not None and np.array_equal(ours.mask.to_array(), theirs)
    assert ours.score == pytest.approx(output.iou_scores.item())


def test_a_live_predictor_gives_its_own_masks() -> None:
    predictor = SamPredictor(original_sam())
    ours = as_segmenter(predictor)
    assert isinstance(ours, OriginalSegmenter)
    (found,) = ours.masks(IMAGE, PROMPTS[1:2], several=True)
    predictor.set_image(PIXELS)
    masks, scores, _ = predictor.predict(box=np.array([10, 10, 50, 50]))
    order = np.argsort(-scores)
    assert [each.mask for each in found] == [Mask.from_array(masks[i]) for i in order]
    assert [each.score for each in found] == pytest.approx(scores[order])


def test_a_segmenter_is_loaded_from_its_folder(tmp_path: Path) -> None:
    model, processor = tiny.sam()
    model.save_pretrained(tmp_path / "sam")
    processor.save_pretrained(tmp_path / "sam")
    loaded = TransformersSegmenter.load(tmp_path / "sam")
    assert loaded.masks(IMAGE, PROMPTS) == TransformersSegmenter(model, processor).masks(IMAGE, PROMPTS)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelNotFound, match="is a bert, not a segmenter"):
        TransformersSegmenter.load(tmp_path)
    with pytest.raises(InvalidSetting, match="a int is not a segmenter"):
        as_segmenter(5)


# Regions


def test_a_region_gets_a_mask_as_a_new_region() -> None:
    filled = workspace()
    result = segment(filled, segmenter=Discs(), regions=["region1", "region2"])
    first, second = result.regions
    assert (first.name, first.parent, first.label, first.source) == ("region3", "region1", "star", "segment")
    assert (second.name, second.parent, second.label) == ("region4", "region2", None)
    assert first.mask is not None and first.box == first.mask.box and first.score == pytest.approx(0.81)
    assert filled.region("region1").mask is None  # a handle never changes its meaning
    assert result.sentence() == ("2 masks in image1: region3 (from region1, 249 px, 0.81), region4 (from region2, 249 px, 0.81)")


def test_a_click_becomes_a_region() -> None:
    (region,) = segment(workspace(), segmenter=Discs(), points=[(50, 30)]).regions
    assert region.prompt == "point 50,30"
    assert region.box.xyxy == (42, 22, 59, 39)


def test_points_a_box_and_a_mask_point_at_one_thing() -> None:
    discs = Discs()
    mask = np.zeros((60, 100), bool)
    mask[20:40, 20:40] = True
    segment(
        workspace(), segmenter=discs, points=[(50, 30, 1), (5, 5, 0)], boxes=[[0.1, 0.1, 0.5, 0.5]], unit="normalised", mask=mask
    )
    assert discs.asked == [Prompt(((50, 30, True), (5, 5, False)), Box(10, 6, 50, 30), Mask.from_array(mask))]


def test_all_three_masks_are_kept_where_asked() -> None:
    result = segment(workspace(), segmenter=Discs(), points=np.array([[50, 30]]), several=True)
    assert [region.mask.area for region in result.regions if region.mask] == [249, 193, 145]


def test_a_mask_found_in_a_crop_lies_in_the_image() -> None:
    filled = workspace()
    crop = filled.add_crop("region2", margin=0.0)
    (region,) = segment(filled, segmenter=Discs(), image=crop, points=[(10, 10)]).regions
    assert (region.image, region.parent, region.box.xyxy) == ("image1", "region2", (42, 22, 59, 39))
    (again,) = segment(filled, segmenter=Discs(), image=crop, regions=["region2"]).regions
    assert again.parent == "region2"


def test_points_may_be_whole_numbers_of_numpy() -> None:
    (region,) = segment(workspace(), segmenter=Discs(), points=[(np.int64(50), np.int64(30))]).regions
    assert region.box.xyxy == (42, 22, 59, 39)


def test_a_prompt_without_a_mask_is_named() -> None:
    result = segment(workspace(), segmenter=Discs(), boxes=[[0, 0, 2, 2]])
    assert result.regions == () and result.sentence() == "no mask in image1; no mask for box 0,0,2,2"


class Splashed(Discs):
    """Discs with a speck in the corner and a second piece a fifth as large."""

    def _disc(self, image: LoadedImage, prompt: Prompt, radius: int) -> ScoredMask:
        found = super()._disc(image, prompt, radius)
        assert found.mask is not None
        array = found.mask.to_array()
        array[0, 0] = array[-5:, -10:] = True
        return ScoredMask(Mask.from_array(array), found.score, found.stability)


def test_specks_do_not_stretch_the_box_and_true_pieces_stay() -> None:
    (region,) = segment(workspace(), segmenter=Splashed(), points=[(50, 30)]).regions
    assert region.mask is not None and region.box.xyxy == (42, 22, 100, 60)
    assert not region.mask.to_array()[0, 0] and region.mask.area == 249 + 50
    for everything in segment_everything(workspace(), segmenter=Splashed(), points_per_side=3).regions:
        assert everything.box.x1 > 0 and everything.box.x2 == 100


def test_everything_is_found_once() -> None:
    filled = workspace()
    result = segment_everything(filled, segmenter=Discs(), points_per_side=5)
    # Three rows of five points; of the discs of radius 9, 8 and 7 at each, the second is nearly the same as the first.
    assert len(result.regions) == 30 and result.regions[0].prompt == "everything"
    fewer = segment_everything(filled, segmenter=Discs(), points_per_side=5, max_regions=4)
    assert len(fewer.regions) == 4 and fewer.notes == ("26 more were left out: at most 4 are kept",)
    assert segment_everything(filled, segmenter=Discs(score=0.3), points_per_side=3).regions == ()


# Bad input


@pytest.mark.parametrize(
    "options,error,said",
    [
        ({}, InvalidSetting, "there is no prompt"),
        ({"points": [(101, 5)]}, PointInvalid, r"lies outside the image; stay within 100 x 60 pixels"),
        ({"points": [(-1, 5)]}, PointInvalid, "outside"),
        ({"points": [(float("nan"), 5)]}, PointInvalid, "finite"),
        ({"points": [(10**400, 5)]}, PointInvalid, "finite"),
        ({"points": [(1, 5, 2)]}, PointInvalid, "marked 2"),
        ({"points": [(1, 5, 0)]}, PointInvalid, "every point is marked as outside"),
        ({"points": [5, 6]}, PointInvalid, "a point is given as 5"),
        ({"points": "5,6"}, PointInvalid, "the points are"),
        ({"points": [(1, 1)] * 101}, PointInvalid, "at most 100"),
        ({"mask": np.ones((60, 99), bool)}, MaskInvalid, "99 x 60 pixels, and the image 100 x 60"),
        ({"mask": np.zeros((60, 100), bool)}, MaskInvalid, "empty"),
        ({"boxes": [[0, 0, 101, 5]]}, BoxOutOfBounds, "x2 is 101"),
        ({"regions": ["region9"]}, UnknownRegion, "there is region1..region2"),
        ({"regions": ["region1", "region2"], "points": [(5, 5)]}, InvalidSetting, "2 boxes together with points"),
        ({"regions": ["region1"], "boxes": [[0, 0, 1, 1]] * 200}, InvalidSetting, "201 boxes"),
    ],
)
def test_bad_prompts_are_refused_and_the_workspace_stays(options: dict[str, Any], error: type[Exception], said: str) -> None:
    filled = workspace()
    before = filled.regions()
    with pytest.raises(error, match=said):
        segment(filled, segmenter=Discs(), **options)
    assert filled.regions() == before


@pytest.mark.parametrize(
    "options", [{"points_per_side": 0}, {"points_per_side": 65}, {"max_regions": 0}, {"min_score": 2}, {"min_stability": "high"}]
)
def test_impossible_settings_of_everything_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        segment_everything(workspace(), segmenter=Discs(), **options)


def test_a_segmenter_that_gives_nan_leaves_the_workspace_as_it_was() -> None:
    filled = workspace()
    before = filled.regions()
    for call in (lambda: segment(filled, segmenter=Discs(float("nan")), points=[(50, 30)]),
                 lambda: segment_everything(filled, segmenter=Discs(float("nan")))):  # fmt: skip
        with pytest.raises(ModelOutputInvalid, match="not finite"):
            call()
    assert filled.regions() == before
