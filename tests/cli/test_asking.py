"""Asking the shipped nano model: answers, conversations, choices, and what each of them carries."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from roi_agent import Box, load_region_model
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import (
    CheckpointMismatch,
    InvalidSetting,
    ModelNotFound,
    PromptTooLong,
    TooManyRegions,
    UnknownRegion,
)
from roi_agent.model.geometry.regions import parse_regions
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.toy.world.scenes import make_scene, render

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENE = EXAMPLES / "scene1.png"
UMBRELLA, FLAG, SMALL_FLAG, SQUARE = [123, 194, 303, 377], [141, 9, 246, 134], [16, 54, 84, 135], [315, 145, 504, 334]


@pytest.fixture(scope="module")
def nano() -> LocalRegionModel:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    return model


@pytest.mark.parametrize(
    ("question", "boxes", "answer"),
    [
        ("What is <region1>?", [UMBRELLA], "a large orange umbrella"),
        ("What colour is <region1>?", [FLAG], "pink"),
        ("Is <region1> left of <region2>?", [UMBRELLA, SQUARE], "yes"),
        ("Is <region2> left of <region1>?", [UMBRELLA, SQUARE], "no"),
        ("Do <region1> and <region2> have the same colour?", [UMBRELLA, SMALL_FLAG], "yes"),
        ("Do <region1> and <region2> have the same colour?", [UMBRELLA, FLAG], "no"),
        ("Are <region1> and <region2> the same kind of thing?", [FLAG, SMALL_FLAG], "yes"),
        ("Which is larger, <region1> or <region2>?", [SMALL_FLAG, SQUARE], "region2"),
        ("Which region is the largest?", [SMALL_FLAG, SQUARE, FLAG], "region2"),
        ("Which of <region1>, <region2> and <region3> is the leftmost?", [SQUARE, UMBRELLA, SMALL_FLAG], "region3"),
        ("Which one is pink: <region1>, <region2> and <region3>?", [SMALL_FLAG, UMBRELLA, FLAG], "region3"),
        ("How many of <region1>, <region2> and <region3> are flags?", [UMBRELLA, FLAG, SMALL_FLAG], "two"),
    ],
)
def test_nano_answers_about_a_rendered_scene(nano: LocalRegionModel, question: str, boxes: list[Any], answer: str) -> None:
    given = nano.ask(SCENE, question, regions=boxes)
    assert given.text == answer
    assert given.confidence > 0.5
    assert given.notes == ()


def test_an_answer_echoes_the_boxes_in_pixels(nano: LocalRegionModel) -> None:
    answer = nano.ask(SCENE, "What is <region1>?", regions=[[0.25, 0.25, 0.5, 0.5]], format="xywh", unit="normalised")
    assert [region.box for region in answer.regions] == [Box(128, 128, 384, 384)]
    assert answer.to_dict()["regions"][0]["box"] == [128, 128, 384, 384]


def test_a_conversation_remembers_and_gives_reasons(nano: LocalRegionModel) -> None:
    chat = nano.chat(SCENE, regions=[UMBRELLA, FLAG])
    assert chat.ask("Is <region1> below <region2>?").text == "yes"
    assert chat.ask("Why?").text == "region1 is below region2"
    added = chat.point(SQUARE)
    assert added.name == "region3"
    later = chat.ask("What colour is <region3>?")
    assert [region.name for region in later.regions] == ["region1", "region2", "region3"]
    assert len(chat.turns) == 3


def test_a_question_that_fails_leaves_the_conversation_as_it_was(nano: LocalRegionModel) -> None:
    chat = nano.chat(SCENE, regions=[UMBRELLA])
    with pytest.raises(UnknownRegion, match="only region1"):
        chat.ask("What is <region5>?")
    assert chat.turns == []


def test_choose_takes_the_likeliest_option(nano: LocalRegionModel) -> None:
    options = ["cup", "umbrella", "star"]
    best = nano.choose(SCENE, "What kind of thing is <region1>?", options, regions=[UMBRELLA])
    assert (best.text, best.index) == ("umbrella", 1)
    assert best.scores[1] == max(best.scores)
    assert 0.5 < best.confidence <= 1


def test_choices_of_many_options_are_those_of_few(nano: LocalRegionModel) -> None:
    """More than the engine is given at once."""
    image, regions = load_image(SCENE), parse_regions([UMBRELLA], size_wh=load_image(SCENE).size_wh)
    options = [f"a large orange {word}" for word in ("umbrella", "cup")] + [f"number {number}" for number in range(300)]
    question = [Turn("What is <region1>?")]
    many, few = nano.choose_all(image, [(question, regions, options), (question, regions, options[:2])])
    assert many.text == few.text == options[0] and len(many.scores) == 302
    assert many.scores[:2] == pytest.approx(few.scores, abs=1e-4)


def test_a_model_that_cannot_read_earlier_turns_says_so(nano: LocalRegionModel) -> None:
    class Simple(RegionModel):
        """What a user of the protocol writes at least."""

        reply, choose_for = nano.reply, nano.choose_for

    image, regions = load_image(SCENE), parse_regions([UMBRELLA], size_wh=load_image(SCENE).size_wh)
    asked = [Turn("What colour is <region1>?")]
    assert Simple().choose_all(image, [(asked, regions, ["orange", "blue"])])[0].text == "orange"
    with pytest.raises(InvalidSetting, match="earlier turns"):
        Simple().choose_all(image, [([Turn("Hm?", "yes"), *asked], regions, ["orange", "blue"])])


def test_a_choice_of_one_scores_as_the_answer_does_alone(nano: LocalRegionModel) -> None:
    """Length-normalised likelihood: the options of a batch do not change one another's score."""
    two = nano.choose(SCENE, "What is <region1>?", ["a large orange umbrella", "cup"], regions=[UMBRELLA])
    other = nano.choose(
        SCENE, "What is <region1>?", ["a small green bell of iron", "a large orange umbrella"], regions=[UMBRELLA]
    )
    assert math.isclose(two.scores[0], other.scores[1], abs_tol=1e-4)


def test_greedy_is_repeatable_and_sampling_is_by_seed(nano: LocalRegionModel) -> None:
    def ask(**options: Any) -> str:
        return nano.ask(SCENE, "What is <region1>?", regions=[[0, 0, 90, 90]], **options).text

    assert ask() == ask()
    assert ask(temperature=2.0, seed=3) == ask(temperature=2.0, seed=3)
    assert len({ask(temperature=2.0, seed=seed) for seed in range(6)}) > 1


def test_the_second_question_about_an_image_finds_it_cached(nano: LocalRegionModel) -> None:
    image = render(make_scene(77)).image
    first = nano.ask(image, "What is <region1>?", regions=[[0, 0, 50, 50]])
    again = nano.ask(image.copy(), "What colour is <region1>?", regions=[[0, 0, 50, 50]])
    assert (first.timing.image_cached, again.timing.image_cached) == (False, True)


def test_given_and_unmentioned_regions_are_introduced(nano: LocalRegionModel) -> None:
    alone = nano.ask(SCENE, "What colour is <region1>?", regions=[FLAG])
    more = nano.ask(SCENE, "What colour is <region1>?", regions=[FLAG, UMBRELLA])
    assert more.usage.prompt_tokens > alone.usage.prompt_tokens
    assert more.text == alone.text == "pink"


@pytest.mark.parametrize("count", [0, 1, 50, 200])
def test_any_number_of_regions_up_to_the_limit(nano: LocalRegionModel, count: int) -> None:
    boxes = [[index, index, index + 60, index + 60] for index in range(count)]
    answer = nano.ask(SCENE, "What do you see?", regions=boxes, max_new_tokens=2)
    assert len(answer.regions) == max(count, 1)  # without any, the whole image is one


def test_more_regions_than_allowed(nano: LocalRegionModel) -> None:
    with pytest.raises(TooManyRegions, match="201"):
        nano.ask(SCENE, "What?", regions=[[0, 0, 9, 9]] * 201)


def test_a_prompt_that_does_not_fit(nano: LocalRegionModel) -> None:
    with pytest.raises(PromptTooLong, match="2048"):
        nano.ask(SCENE, "word " * 3000)


def test_a_box_smaller_than_a_feature_cell_carries_a_note(nano: LocalRegionModel) -> None:
    answer = nano.ask(SCENE, "What is <region1>?", regions=[[10, 10, 14, 30]])
    assert any("smaller than one feature cell" in note for note in answer.notes)


def test_photos_and_noise_carry_a_note_that_nano_knows_scenes_only(nano: LocalRegionModel) -> None:
    photo = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8))
    for image in (photo, noise, Image.new("RGB", (300, 300), "white")):
        answer = nano.ask(image, "What is <region1>?", regions=[[10, 10, 200, 200]])
        assert any("knows only the rendered scenes" in note for note in answer.notes), image


def test_held_out_scenes_carry_no_domain_note(nano: LocalRegionModel) -> None:
    answers = [nano.ask(render(make_scene(seed), 200).image, "What?", [[0, 0, 200, 200]], max_new_tokens=1) for seed in range(40)]
    assert not any(answer.notes for answer in answers)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"question": "  "}, InvalidSetting),
        ({"temperature": -1}, InvalidSetting),
        ({"temperature": float("nan")}, InvalidSetting),
        ({"top_p": 0}, InvalidSetting),
        ({"max_new_tokens": 0}, InvalidSetting),
        ({"max_tokens": 5}, InvalidSetting),
    ],
)
def test_impossible_options_are_refused(nano: LocalRegionModel, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        nano.ask(SCENE, **{"question": "What?", **options})


@pytest.mark.parametrize("options", [[], ["one"], ["one", " "], "ab"])
def test_choose_wants_two_options(nano: LocalRegionModel, options: Any) -> None:
    with pytest.raises(InvalidSetting, match="at least two"):
        nano.choose(SCENE, "What?", options)


@pytest.mark.parametrize(("name", "do"), [("gpt4roi-7b", "convert"), ("missing", "nano, a folder or a server")])
def test_models_that_are_not_here_say_what_to_do(name: str, do: str) -> None:
    with pytest.raises(ModelNotFound, match=do):
        load_region_model(name)


def test_a_folder_with_other_weights_is_refused(nano: LocalRegionModel, tmp_path: Path) -> None:
    nano.model.save_pretrained(tmp_path)
    nano.processor.save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"num_fusions": 2', '"num_fusions": 3'))
    with pytest.raises(CheckpointMismatch, match="missing keys"):
        load_region_model(tmp_path)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        load_region_model(tmp_path)


@pytest.mark.parametrize(("setting", "value"), [("device", "abacus"), ("dtype", "int8")])
def test_unknown_devices_and_types(setting: str, value: str) -> None:
    given: dict[str, Any] = {setting: value}
    with pytest.raises(InvalidSetting, match=value):
        load_region_model("nano", **given)


def test_half_precision_answers_too() -> None:
    assert load_region_model("nano", dtype="bfloat16").ask(SCENE, "What colour is <region1>?", regions=[FLAG]).text == "pink"
