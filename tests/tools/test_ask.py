"""Asking about regions of a workspace: several at once, each of many in a batch, choices, and a second look."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roi_agent import Box, Workspace, load_region_model
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting, TooManyRegions, UnknownImage, UnknownRegion
from roi_agent.model.toy.world.scenes import make_scene, render
from roi_agent.tools.ask import ask, ask_each, choose

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
UMBRELLA, FLAG, SMALL_FLAG, SQUARE = [123, 194, 303, 377], [141, 9, 246, 134], [16, 54, 84, 135], [315, 145, 504, 334]


@pytest.fixture(scope="module")
def nano() -> LocalRegionModel:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    return model


def workspace() -> Workspace:
    """region1 to region4 in the order above."""
    filled = Workspace()
    filled.add_image(SCENE)
    filled.add_regions([UMBRELLA, FLAG, SMALL_FLAG, SQUARE])
    return filled


def far_away(seed: int = 11) -> tuple[Workspace, list[str]]:
    """A rendered scene as a small part of a large image, its things as regions, and their colours."""
    scene = render(make_scene(seed, num_things=4), 384)
    whole = Image.new("RGB", (3840, 3840), (128, 128, 128))
    whole.paste(scene.image, (1000, 2000))
    filled = Workspace()
    filled.add_image(whole)
    filled.add_regions(scene.boxes + np.array([1000, 2000, 1000, 2000]))
    return filled, [thing.colour for thing in scene.scene.things]


def test_questions_name_regions_by_their_handles(nano: LocalRegionModel) -> None:
    filled = workspace()
    asked = ask(filled, "Is <region1> left of <region4>?", model=nano)
    assert asked.answer.text == "yes" and asked.image == "image1"
    assert [region.name for region in asked.regions] == ["region1", "region4"]
    assert asked.answer.text == nano.ask(SCENE, "Is <region1> left of <region2>?", [UMBRELLA, SQUARE]).text
    assert asked.sentence().startswith("yes (confidence ")


def test_regions_that_the_question_does_not_name_are_given_too(nano: LocalRegionModel) -> None:
    asked = ask(workspace(), "Which region is the largest?", model=nano, regions=["region3", "region4", "region2"])
    assert asked.answer.text == "region4"
    assert {region.name for region in asked.regions} == {"region2", "region3", "region4"}


def test_a_batch_answers_as_one_by_one(nano: LocalRegionModel) -> None:
    filled = workspace()
    together = ask_each(filled, "What is <region>?", model=nano)
    assert [each.regions[0].name for each in together] == ["region1", "region2", "region3", "region4"]
    for each in together:
        alone = ask(filled, each.question, model=nano)
        assert alone.answer.text == each.answer.text
        assert alone.answer.confidence == pytest.approx(each.answer.confidence, abs=1e-4)
        assert alone.answer.usage.prompt_tokens == each.answer.usage.prompt_tokens
        assert alone.answer.usage.completion_tokens == each.answer.usage.completion_tokens
    assert together[0].question == "What is <region1>?" and together[0].answer.text == "a large orange umbrella"


def test_many_regions_run_as_few_batches() -> None:
    nano = load_region_model("nano")
    assert isinstance(nano, LocalRegionModel)
    filled = workspace()
    filled.add_regions([[x, y, x + 70, y + 60] for x in range(0, 400, 50) for y in range(0, 400, 50)])
    answers = ask_each(filled, "What colour is <region>?", model=nano)
    done = nano.engine.counters()
    assert len(answers) == 68 == done.answered
    assert done.vision_passes == done.fusions == done.prefix_passes == 1
    assert done.steps <= 3 * max(each.answer.usage.completion_tokens for each in answers)  # 32 at once


def test_regions_of_several_images_are_asked_together(nano: LocalRegionModel) -> None:
    filled = workspace()
    filled.add_image(SCENE.with_name("scene2.png"))
    filled.add_regions([[0, 0, 200, 200]], image="image2")
    asked = ask_each(filled, "What is <region>?", ["region5", "region1"], model=nano)
    assert [(each.image, each.regions[0].name) for each in asked] == [("image2", "region5"), ("image1", "region1")]
    assert asked[1].answer.text == "a large orange umbrella"


def test_choices_are_made_about_regions(nano: LocalRegionModel) -> None:
    assert choose(workspace(), "What colour is <region2>?", ["blue", "pink", "green"], model=nano).text == "pink"


def test_small_regions_get_a_second_look(nano: LocalRegionModel) -> None:
    filled, colours = far_away()
    first = [nano.ask(filled.image("image1").image, "What colour is <region1>?", [r.box]).text for r in filled.regions()]
    looks = [ask(filled, f"What colour is <{region.name}>?", model=nano) for region in filled.regions()]
    assert [look.answer.text for look in looks] == colours != first
    look = next(each for each in looks if each.crop)
    assert look.first_look is not None and look.first_look.confidence < look.answer.confidence
    assert look.regions[0].image == "image1" == look.image
    assert any(f"read from a closer look at {look.crop}; the whole image gave" in note for note in look.notes)
    x1, y1, x2, y2 = map(float, str(look.crop).split(","))
    assert x1 < look.regions[0].box.x1 and y2 > look.regions[0].box.y2 and look.to_dict()["crop"] == look.crop
    assert x2 - x1 == y2 - y1
    assert len(filled.images) == 1  # what a tool looks at becomes no image of the workspace
    assert ask(filled, "What colour is <region1>?", model=nano, second_look="never").first_look is None


def test_large_regions_and_such_that_lie_far_apart_get_none(nano: LocalRegionModel) -> None:
    filled = workspace()
    assert ask(filled, "What colour is <region1>?", model=nano).first_look is None
    small = [region.name for region in filled.add_regions([[0, 0, 20, 20], [490, 490, 510, 510]])]
    assert ask(filled, f"Is <{small[0]}> left of <{small[1]}>?", model=nano).first_look is None
    assert len(filled.images) == 1


@pytest.mark.parametrize("corner", [(0, 0), (500, 0), (0, 500), (500, 500)])
def test_a_second_look_at_the_frame_stays_within_it(nano: LocalRegionModel, corner: tuple[int, int]) -> None:
    filled = workspace()
    x, y = corner
    (region,) = filled.add_regions([[x, y, x + 12, y + 12]])
    look = ask(filled, f"What colour is <{region.name}>?", model=nano)
    assert look.first_look is not None and len(filled.images) == 1
    if look.crop:
        x1, y1, x2, y2 = map(float, look.crop.split(","))
        assert x2 - x1 == y2 - y1 == 48 and Box(x1, y1, x2, y2).checked_within((512, 512))


def test_regions_far_apart_in_a_long_image_are_answered(nano: LocalRegionModel) -> None:
    filled = Workspace()
    filled.add_image(Image.new("RGB", (640, 4500)))
    filled.add_regions([[20, 50, 60, 100], [20, 700, 60, 760]])
    asked = ask(filled, "Is <region1> above <region2>?", model=nano)
    assert asked.first_look is None and len(filled.images) == 1


def test_a_handle_without_brackets_is_not_answered_about_the_whole_image(nano: LocalRegionModel) -> None:
    with pytest.raises(InvalidSetting, match="names region1 without brackets; write <region1>"):
        ask(workspace(), "What colour is region1?", model=nano)


def test_questions_about_nothing_that_is_there_are_refused(nano: LocalRegionModel) -> None:
    filled = workspace()
    with pytest.raises(UnknownRegion, match=r"unknown_region: region7; there is region1\.\.region4"):
        ask(filled, "What is <region7>?", model=nano)
    with pytest.raises(UnknownRegion):
        ask_each(filled, "What is <region>?", ["region9"], model=nano)
    with pytest.raises(InvalidSetting, match="write <region>, which stands for each of them"):
        ask_each(filled, "What is <region1>?", model=nano)
    with pytest.raises(InvalidSetting, match="no region to ask about"):
        ask_each(filled, "What is <region>?", [], model=nano)
    with pytest.raises(InvalidSetting, match="the question is empty"):
        ask(filled, " ", model=nano)
    with pytest.raises(InvalidSetting, match="at least two"):
        choose(filled, "What is <region1>?", ["a"], model=nano)
    with pytest.raises(UnknownImage):
        ask(Workspace(), "What is there?", model=nano)
    filled.add_image(np.zeros((9, 9, 3), np.uint8))
    (other,) = filled.add_regions([[0, 0, 5, 5]], image="image2")
    with pytest.raises(InvalidSetting, match="region5 lies in image2, not in image1"):
        ask(filled, f"Is <region1> left of <{other.name}>?", model=nano)
    filled.add_regions([[x, 0, x + 1, 1] for x in range(200)], image="image1")
    with pytest.raises(TooManyRegions):
        ask_each(filled, "What is <region>?", model=nano, image="image1")
