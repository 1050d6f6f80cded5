"""Focal crops: nothing changes while the gate is shut, and what an open one lets in is what the crop shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from roi_agent.model import GPT4RoIForConditionalGeneration
from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.engine import Engine, Runner
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.gpt4roi.focal import FocalCrops, focal_crops
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.images.loading import LoadedImage, load_image
from tests.engine.asked import BOXES, SCENE, ids_of, request, without_end

NANO = Path(__file__).parents[2] / "model" / "nano"
QUESTION = "Is <region3> left of <region2>?"


def looked_at(images: Any) -> Tensor:
    """Instead of a processor: the corners of each picture."""
    return torch.stack([torch.tensor(np.asarray(each.resize((2, 2)))) for each in images]).permute(0, 3, 1, 2).float()


@st.composite
def pictures(draw: st.DrawFn) -> tuple[tuple[int, int], Box]:
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    x1, y1 = draw(st.floats(0, width - 0.5)), draw(st.floats(0, height - 0.5))
    box = Box(x1, y1, draw(st.floats(x1 + 0.25, width)), draw(st.floats(y1 + 0.25, height)))
    return (width, height), box


@settings(max_examples=200, deadline=None)
@given(pictures())
def test_every_box_lies_in_its_crop_with_as_much_again_around_it(given: tuple[tuple[int, int], Box]) -> None:
    (width, height), box = given
    crops = focal_crops(Image.new("RGB", (width, height)), [Region("region1", box)], looked_at)
    longer = max(box.width / width, box.height / height)
    if crops is None:
        assert longer > 0.45 or min(width, height) < 16  # nearly the whole image, in whole pixels
        return
    assert longer < 0.5 and crops.pixels.shape == (1, 3, 2, 2) and crops.regions.tolist() == [0]
    (x1, y1, x2, y2) = crops.boxes[0].tolist()
    assert 0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1
    assert x2 - x1 >= 0.99 * box.width / width and y2 - y1 >= 0.99 * box.height / height  # never smaller than in the image
    assert max(x2 - x1, y2 - y1) <= 0.51  # with as much again around it


@pytest.mark.parametrize(
    ("boxes", "shown"),
    [
        ([[0, 0, 512, 512]], []),
        ([[0, 0, 256, 10]], []),
        ([[0, 0, 64, 64]], [[0.0, 0.0, 0.5, 0.5]]),  # at the corner the crop is moved inwards
        ([[224, 224, 288, 288]], [[0.25, 0.25, 0.75, 0.75]]),
        ([[300, 300, 301, 301]], [[31.5 / 64, 31.5 / 64, 32.5 / 64, 32.5 / 64]]),  # never less than an eighth of the side
        ([[0, 0, 512, 512], [448, 448, 512, 512]], [[0.5, 0.5, 1.0, 1.0]]),
    ],
)
def test_known_crops(boxes: list[list[float]], shown: list[list[float]]) -> None:
    regions = parse_regions(boxes, size_wh=(512, 512))
    crops = focal_crops(Image.new("RGB", (512, 512)), regions, looked_at)
    assert (crops is None) == (not shown)
    if crops is not None:
        assert torch.allclose(crops.boxes, torch.tensor(shown), atol=1 / 64) and crops.regions.tolist() == [len(boxes) - 1]


@pytest.fixture(scope="module")
def scene() -> LoadedImage:
    return load_image(SCENE)


Loaded = tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]


@pytest.fixture(scope="module")
def focal() -> Loaded:
    model, processor = load_adapted(NANO, focal_crop=True)
    return model.eval(), processor


@pytest.fixture(scope="module")
def open_gate() -> Loaded:
    model, processor = load_adapted(NANO, focal_crop=True)
    assert model.region_encoder.focal_gate is not None
    torch.nn.init.ones_(model.region_encoder.focal_gate)
    return model.eval(), processor


@torch.no_grad()
def test_a_gate_that_was_not_trained_changes_nothing(focal: Loaded, scene: LoadedImage) -> None:
    plain, processor = load_adapted(NANO)
    inputs = focal[1](scene, QUESTION, BOXES)
    assert len(inputs["boxes"][0].crops.regions) >= 1
    usual = processor(scene, QUESTION, BOXES)
    assert isinstance(usual["boxes"][0], torch.Tensor) and torch.equal(inputs["input_ids"], usual["input_ids"])
    assert torch.equal(focal[0](**inputs).logits, plain.eval()(**usual).logits)


@torch.no_grad()
def test_an_open_gate_shows_what_the_crop_shows(open_gate: Loaded, scene: LoadedImage) -> None:
    model, processor = open_gate
    regions = parse_regions([BOXES[2], [0, 0, 512, 512]], size_wh=scene.size_wh)
    pointed, image = processor.region_inputs(regions, scene), model.encode_image(processor.pixels([scene.pixels]))
    assert pointed.crops is not None and pointed.crops.regions.tolist() == [0]
    (vectors,) = model.region_vectors(image.maps, [pointed])
    crop = model.encode_image(pointed.crops.pixels)
    encoder, first = model.region_encoder, torch.zeros(1, dtype=torch.long)
    seen = encoder.appearance(crop.maps, pointed.crops.boxes, first)
    assert torch.allclose(vectors[0], encoder.project(seen, pointed.boxes[:1])[0], atol=1e-4)
    assert torch.allclose(vectors[1], encoder.pool(image.maps, [pointed.boxes])[0][1], atol=1e-5)  # large: no crop


@torch.no_grad()
def test_images_with_and_without_crops_stand_in_one_batch(open_gate: Loaded, scene: LoadedImage) -> None:
    model, processor = open_gate
    groups = [BOXES[:3], [[0, 0, 512, 512]], BOXES[2:3], []]
    pointed = [processor.region_inputs(parse_regions(each, size_wh=scene.size_wh), scene) for each in groups]
    maps = [level.expand(len(groups), -1, -1, -1) for level in model.encode_image(processor.pixels([scene.pixels])).maps]
    together = model.region_vectors(maps, pointed)
    for index, each in enumerate(pointed):
        (alone,) = model.region_vectors([level[:1] for level in maps], [each])
        assert torch.allclose(together[index], alone, atol=1e-5)


def test_the_engine_gives_what_the_model_generates(open_gate: Loaded, scene: LoadedImage) -> None:
    model, processor = open_gate
    local = LocalRegionModel(model, processor)
    regions = parse_regions(BOXES, size_wh=scene.size_wh)
    asked = [request(local, scene, regions, question) for question in (QUESTION, "What is <region3>?", "What is <region1>?")]
    engine = Engine(Runner(model, processor))
    expected = []
    for each in asked:
        output = model.generate(
            input_ids=torch.tensor([list(each.ids)]),
            pixel_values=processor.pixels([scene.pixels]),
            boxes=[processor.region_inputs(each.regions, scene)],
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=processor.end_ids(),
            pad_token_id=0,
        )
        expected.append(without_end(local, output[0, len(each.ids) :].tolist()))
    for _ in range(2):  # computed anew, and kept
        assert [ids_of(each.result())[:16] for each in engine.submit_all(asked)] == expected


def test_the_gate_learns_and_is_kept(focal: Loaded, scene: LoadedImage, tmp_path: Path) -> None:
    model, processor = load_adapted(NANO, focal_crop=True)
    inputs = processor(scene, QUESTION, BOXES)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    gate = model.region_encoder.focal_gate
    assert gate is not None and gate.grad is not None and gate.grad.abs().sum() > 0
    torch.nn.init.constant_(gate, 0.5)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = LocalRegionModel.from_folder(tmp_path)
    kept = again.model.region_encoder.focal_gate
    assert kept is not None and torch.equal(kept, gate) and again.processor.focal_crop
    without, _ = load_adapted(tmp_path, focal_crop=False)
    assert without.region_encoder.focal_gate is None and "focal_gate" not in "".join(without.state_dict())


def test_an_untrained_gate_of_transformers_own_loading_starts_shut() -> None:
    model = GPT4RoIForConditionalGeneration.from_pretrained(NANO, focal_crop=True)
    assert model.region_encoder.focal_gate is not None and not model.region_encoder.focal_gate.any()


@torch.no_grad()
def test_crops_for_a_model_without_the_option_are_refused(scene: LoadedImage) -> None:
    model, processor = load_adapted(NANO)
    crops = FocalCrops(torch.zeros(1, 3, 128, 128), torch.tensor([[0.1, 0.1, 0.9, 0.9]]), torch.tensor([0]))
    inputs = processor(scene, "What is <region1>?", BOXES[:1])
    with pytest.raises(InvalidSetting, match="without focal crops"):
        model(**{**inputs, "boxes": [RegionInputs(inputs["boxes"][0], crops=crops)]})
