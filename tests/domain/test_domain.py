"""Telling the images that a model knows from others: rendered scenes by their pixels, images of one's own by features."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from roi_agent.loading import SHIPPED, load_detector, load_region_model, load_segmenter
from roi_agent.model.domain.domains import NOT_KNOWN, OUTSIDE, FeatureDomain, SceneDomain, load_domain, pool
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.toy.train.domain import seen_scene
from roi_agent.model.toy.world.scenes import make_scene, render
from roi_agent.tools.ask import ask, choose
from roi_agent.tools.detect import detect
from roi_agent.tools.segment import segment
from roi_agent.tools.workspace import Workspace
from tests import photos

HELD_OUT = 900_000_000  # seeds that no training and no fit has seen


def features(batch: int, scale: float, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.rand(batch, 6, side, side, generator=generator) for side in (8, 4)]


def nothing() -> Sequence[torch.Tensor]:
    raise AssertionError("no features are needed")


@pytest.fixture(scope="module")
def nano() -> RegionModel:
    return load_region_model("nano")


@pytest.fixture(scope="module")
def scenes() -> SceneDomain:
    domain = load_domain(SHIPPED["ask"]["nano"])
    assert isinstance(domain, SceneDomain)
    return domain


# ---------------------------------------------------------------- rendered scenes


def test_the_three_models_judge_alike(scenes: SceneDomain) -> None:
    others = [load_domain(SHIPPED[role]["nano"]) for role in ("detect", "segment")]
    for other in others:
        assert other is not None and other.known == scenes.known
        assert all(torch.equal(other.tensors()[name], tensor) for name, tensor in scenes.tensors().items())
    assert scenes.known == "nano knows only the rendered scenes of the toy world"


def test_scenes_of_any_size_shape_and_file_are_known(scenes: SceneDomain) -> None:
    missed = [seed for seed in range(HELD_OUT, HELD_OUT + 150) if not scenes.contains(seen_scene(seed), nothing)]
    assert len(missed) <= 1


@pytest.mark.parametrize("side", [200, 700, 2000])
def test_large_and_small_scenes_are_known(scenes: SceneDomain, side: int) -> None:
    assert all(scenes.contains(render(make_scene(HELD_OUT + seed), side).image, nothing) for seed in range(6))


@pytest.mark.parametrize("file", photos.CASES)
def test_photos_and_their_crops_are_outside(scenes: SceneDomain, file: Path) -> None:
    for image in photos.halves(photos.opened(file)):
        assert not scenes.contains(image, nothing)
        assert not scenes.contains(image.convert("L").convert("RGB"), nothing)


def test_plain_and_drawn_pictures_are_outside(scenes: SceneDomain) -> None:
    known = [name for name, image in photos.drawn() for part in photos.halves(image) if scenes.contains(part, nothing)]
    assert not known


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (5, 5)])
def test_images_of_any_shape_are_judged(scenes: SceneDomain, size: tuple[int, int]) -> None:
    assert not scenes.contains(Image.new("RGB", size, (130, 130, 130)), nothing)


# ---------------------------------------------------------------- what answers say


def test_every_box_of_a_photo_is_noted_and_no_box_of_a_scene(nano: RegionModel) -> None:
    photo, scene = load_image(photos.CHELSEA), load_image(render(make_scene(HELD_OUT), 384).image)
    for image, within in ((photo, False), (scene, True)):
        width, height = image.size_wh
        boxes = [(x, y, x + width / 4, y + height / 3) for x in np.arange(4) * width / 4 for y in np.arange(3) * height / 3]
        for box in boxes:
            answer = nano.ask(image, "What is <region1>?", [box], max_new_tokens=8)
            assert answer.in_domain is within and any(note.startswith(OUTSIDE) for note in answer.notes) is not within
    chosen = nano.choose(photo, "What is <region1>?", ["a cat", "a moon"], [boxes[0]])
    assert chosen.in_domain is False and any(note.startswith(OUTSIDE) for note in chosen.notes)
    assert chosen.to_dict()["in_domain"] is False


@pytest.mark.parametrize("phrases", [["gramophone"], ["gramophone", "flag"], ["flag"]])
def test_a_photo_is_noted_once_whatever_words_the_detector_knows(phrases: list[str]) -> None:
    workspace = Workspace()
    workspace.add_image(photos.CHELSEA)
    found = detect(workspace, phrases, detector=load_detector("nano"))
    assert found.in_domain is False and found.sentence().count(OUTSIDE) == 1


def test_a_crop_is_judged_as_the_image_that_it_was_cut_from(nano: RegionModel, tmp_path: Path) -> None:
    detector, segmenter = load_detector("nano"), load_segmenter("nano")
    photo, scene = photos.opened(photos.CHELSEA), render(make_scene(HELD_OUT), 384)
    photo.paste(scene.image.resize((120, 120)), (0, 0))  # a part of the photo that alone looks like a scene
    for image, box, within in ((photo, (0, 0, 120, 120), False), (scene.image, tuple(scene.boxes[0]), True)):
        saved = Workspace()
        saved.add_crop(box, image=saved.add_image(image))
        saved.save(tmp_path / str(within))
        for workspace in (saved, Workspace.load(tmp_path / str(within))):
            crop = workspace.images[1]
            looked = detect(workspace, "thing", detector=detector, image=crop.name)
            assert looked.in_domain is within and any(each.startswith(OUTSIDE) for each in looked.notes) is not within
            masks = segment(workspace, segmenter=segmenter, image=crop.name, points=[(10, 10)])
            assert any(each.startswith(OUTSIDE) for each in masks.notes) is not within
            for answer in (nano.ask(crop.image, "What?"), choose(workspace, "What?", ["a", "b"], model=nano, image=crop.name)):
                assert answer.in_domain is within


def test_a_closer_look_has_the_verdict_of_the_whole_image(nano: RegionModel) -> None:
    workspace = Workspace()
    image = workspace.add_image(photos.CHELSEA)
    (region,) = workspace.add_regions([[200, 100, 225, 120]], image=image)
    asked = ask(workspace, f"What is <{region.name}>?", model=nano, second_look="always")
    assert asked.first_look and asked.answer.in_domain is False and asked.to_dict()["in_domain"] is False
    assert sum(note.startswith(OUTSIDE) for note in asked.notes) == 1


def test_without_its_domain_a_model_that_knows_one_says_that_there_is_no_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    shutil.copytree(SHIPPED["ask"]["nano"], folder)
    (folder / "domain.safetensors").unlink()
    answer = load_region_model(folder).ask(photos.CHELSEA, "What?", max_new_tokens=2)
    assert answer.in_domain is None and any(note.startswith(NOT_KNOWN) for note in answer.notes)


# ---------------------------------------------------------------- images of one's own


@pytest.fixture
def domain() -> FeatureDomain:
    return FeatureDomain.fit(pool(features(300, 1.0, 0)), pool(features(300, 1.0, 1)), known="it knows noise")


ANY = Image.new("RGB", (8, 8))


def test_images_of_the_same_kind_lie_within_and_others_outside(domain: FeatureDomain) -> None:
    assert domain.contains(ANY, lambda: features(100, 1.0, 1))
    assert not domain.contains(ANY, lambda: features(1, 3.0, 2))
    assert not domain.contains(ANY, lambda: features(1, 0.0, 3)), "a blank map is no known image"


def test_saving_and_loading_gives_the_same_domain(domain: FeatureDomain, scenes: SceneDomain, tmp_path: Path) -> None:
    for each in (domain, scenes):
        each.save(tmp_path)
        again = load_domain(tmp_path)
        assert type(again) is type(each) and again.known == each.known
        assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in each.tensors().items())
    assert domain.note("the boxes") == f"{OUTSIDE}: it knows noise; do not rely on the boxes"


def test_a_folder_without_a_domain_has_none(tmp_path: Path) -> None:
    assert load_domain(tmp_path) is None
