"""Other image sizes than a checkpoint was trained with: one call, the published interpolation, and the cost by count."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from roi_agent import load_region_model
from roi_agent.model.checkpoints.adapt import at_image_size, load_adapted
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting, ModelNotFound, RoiAgentError
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.costs import costs
from tests.small import clip, dinov2, make_model, make_processor, resnet, siglip, vit

ROOT = Path(__file__).parents[2]
SCENE, NANO = ROOT / "examples" / "scene1.png", ROOT / "model" / "nano"
UMBRELLA = [123, 194, 303, 377]


@pytest.mark.parametrize("tower", [clip, vit, siglip, dinov2, resnet])
@pytest.mark.parametrize("side", [48, 64])
@torch.no_grad()
def test_a_saved_model_reads_larger_images_as_its_tower_would_with_interpolated_positions(
    tower: Callable[[], Any], side: int, tmp_path: Path
) -> None:
    model = make_model(tower)
    model.save_pretrained(tmp_path)
    make_processor(model.config).save_pretrained(tmp_path)
    larger, processor = load_adapted(tmp_path, image_size=side)
    grid = 2 * side // 32 if tower is resnet else side // 8
    assert larger.config.num_image_tokens == processor.num_image_tokens == grid**2
    scale = side // 16 if tower is resnet else 2  # halves; over a tower of patches the maps keep their sizes
    assert larger.config.pyramid_sizes == [each * scale // 2 for each in model.config.pyramid_sizes]
    pixels = torch.randn(2, 3, side, side)
    options = {} if tower is resnet or tower is dinov2 else {"interpolate_pos_encoding": True}
    wanted = model.vision_tower(pixels, output_hidden_states=True, **options).hidden_states
    layers = [model.config.image_layer, *model.config.region_layers]
    for state, layer in zip(larger.vision_features(pixels, layers), layers, strict=True):
        assert torch.allclose(state, model._patches(wanted[layer]), atol=1e-4)
    inputs = processor(SCENE, "is <region1> a red ball ?", [UMBRELLA])
    assert inputs["pixel_values"].shape == (1, 3, side, side) and larger(**inputs).logits.isfinite().all()


@torch.no_grad()
def test_what_was_adapted_is_saved_and_loaded_as_any_model(tmp_path: Path) -> None:
    model = make_model(clip)
    model.save_pretrained(tmp_path / "small")
    make_processor(model.config).save_pretrained(tmp_path / "small")
    larger, processor = load_adapted(tmp_path / "small", image_size=48, scale_pyramid=True, mask_pooling=True)
    larger.save_pretrained(tmp_path / "larger")
    processor.save_pretrained(tmp_path / "larger")
    again, read = load_adapted(tmp_path / "larger")
    assert again.config.image_size == 48 and again.config.pyramid_sizes == [12, 6] and again.config.mask_pooling
    assert read.mask_bins == again.config.roi_size and read.num_image_tokens == 36
    inputs = read(SCENE, "is <region1> a red ball ?", [UMBRELLA])
    assert torch.allclose(again(**inputs).logits, larger(**inputs).logits, atol=1e-5)


@torch.no_grad()
def test_without_options_nothing_changes(tmp_path: Path) -> None:
    model = make_model(clip)
    model.save_pretrained(tmp_path)
    make_processor(model.config).save_pretrained(tmp_path)
    same, processor = load_adapted(tmp_path)
    inputs = processor(SCENE, "is <region1> a red ball ?", [UMBRELLA])
    assert torch.allclose(same(**inputs).logits, model(**inputs).logits, atol=1e-5)
    weights = model.state_dict()
    assert set(same.state_dict()) == set(weights)
    assert all(torch.equal(value, weights[name]) for name, value in same.state_dict().items())


def test_nano_answers_at_another_image_size() -> None:
    model = load_region_model("nano", image_size=192)
    assert isinstance(model, LocalRegionModel) and model.processor.num_image_tokens == 36
    answer = model.ask(SCENE, "What colour is <region1>?", [UMBRELLA])
    assert answer.text == "orange" and answer.usage.prompt_tokens > 36


def test_the_published_7b_at_336_px() -> None:
    config = GPT4RoIConfig.preset("gpt4roi-7b")
    kept, scaled = at_image_size(config, 336), at_image_size(config, 336, scale_pyramid=True)
    assert (kept.image_size, kept.num_image_tokens, kept.vision_config.image_size) == (336, 576, 336)  # type: ignore[union-attr]
    assert kept.grid_side == 24 and kept.pyramid_sizes == [128, 64, 32, 16] and scaled.pyramid_sizes == [192, 96, 48, 24]
    assert (config.image_size, config.vision_config.image_size) == (224, 224)  # type: ignore[union-attr]
    with torch.device("meta"):
        model = make_tower(kept)
    assert model.embeddings.position_embedding.weight.shape == (577, 1024)


def make_tower(config: GPT4RoIConfig) -> Any:
    from transformers import AutoModel

    return AutoModel.from_config(config.vision_config)


@pytest.mark.parametrize("size", [0, -14, 335, 225, 14 * 5 + 1, 2**20 * 14, 33.6, True, "336"])
def test_image_sizes_that_do_not_fit_are_refused(size: Any) -> None:
    with pytest.raises(InvalidSetting, match="image size"):
        at_image_size(GPT4RoIConfig.preset("gpt4roi-7b"), size)


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("nano", {"image_size": 130}, InvalidSetting, "multiple of 32"),
        ("nano", {"image_size": 0}, InvalidSetting, "the image size 0"),
        ("http://127.0.0.1:1", {"image_size": 192}, InvalidSetting, "settings are for models in this process"),
        ("http://127.0.0.1:1", {"mask_pooling": False}, InvalidSetting, "settings are for models in this process"),
        ("nowhere", {"image_size": 192}, ModelNotFound, "neither"),
    ],
)
def test_options_that_cannot_be_had_are_refused(name: str, options: Any, error: type[RoiAgentError], said: str) -> None:
    with pytest.raises(error, match=said):
        load_region_model(name, **options)


def test_the_cost_of_a_question_is_counted() -> None:
    """The published 7B, to 10 % beside arithmetic by hand: 162 GFLOP for the tower; 15 a region."""
    usual = costs(GPT4RoIConfig.preset("gpt4roi-7b"))
    assert usual.tower == pytest.approx(162e9, rel=0.1)
    assert usual.region == pytest.approx(15.2e9, rel=0.05)
    assert usual.prompt == pytest.approx(2 * 350 * 6.6e9, rel=0.1) and usual.crop == 0
    assert 1.2e12 < usual.fusion < 2.1e12  # less than the 2,053 + 46 of the paper's order: some of it runs on small grids
    assert usual.map_bytes == 2 * 1024 * (128**2 + 64**2 + 32**2 + 16**2)
    assert usual.first_token == sum((usual.tower, usual.fusion, usual.region, usual.prompt))


def test_the_cost_of_more_pixels_and_of_a_crop() -> None:
    nano = GPT4RoIConfig.preset("nano")
    focal = at_image_size(nano, 128)
    focal.focal_crop = True
    usual, kept, scaled = (
        costs(nano),
        costs(at_image_size(nano, 192, scale_pyramid=False)),
        costs(at_image_size(nano, 192, scale_pyramid=True)),
    )
    closer = costs(focal)
    assert kept.tower == pytest.approx(2.25 * usual.tower, rel=0.02) and kept.image_tokens == 36
    assert kept.fusion < 1.15 * usual.fusion and scaled.fusion == pytest.approx(2.25 * usual.fusion, rel=0.02)
    assert at_image_size(nano, 192).pyramid_sizes == [48, 24, 12]
    assert usual.map_bytes == kept.map_bytes and scaled.map_bytes == pytest.approx(2.25 * usual.map_bytes, rel=0.01)
    assert usual.region == kept.region == scaled.region and usual.prompt < kept.prompt == scaled.prompt
    assert usual.tower + usual.fusion < closer.crop < usual.tower + usual.fusion + usual.region
    assert closer.to_dict()["first_token"] == usual.first_token + closer.crop
