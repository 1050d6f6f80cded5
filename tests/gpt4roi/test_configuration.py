"""GPT4RoIConfig: it checks itself, and its presets have the published sizes."""

from typing import Any

import pytest
import torch

from roi_agent.model import GPT4RoIConfig, GPT4RoIForConditionalGeneration
from roi_agent.model.errors import InvalidSetting, ModelNotFound, RoiAgentError
from roi_agent.model.gpt4roi.configuration import PRESETS


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"region_chanels": 3}, InvalidSetting, "region_chanels"),
        ({"levels": 4, "colour": "red"}, InvalidSetting, "colour, levels"),
        ({"region_layers": [-2]}, InvalidSetting, "1, 1 and 4"),
        ({"region_layers": []}, InvalidSetting, "region_layers"),
        ({"region_channels": 30}, InvalidSetting, "30"),
        ({"fusion_groups": 100}, InvalidSetting, "100"),
    ],
)
def test_a_configuration_checks_itself(settings: dict[str, Any], error: type[RoiAgentError], words: str) -> None:
    with pytest.raises(error, match=words):
        GPT4RoIConfig(**settings)


@pytest.mark.parametrize(
    ("name", "parameters", "hidden", "layers", "vocabulary"),
    [
        ("gpt4roi-7b", 7_344_985_856, 4096, 32, 32006),
        ("gpt4roi-13b", 13_624_546_048, 5120, 40, 32006),
    ],
)
def test_the_published_sizes(name: str, parameters: int, hidden: int, layers: int, vocabulary: int) -> None:
    config = GPT4RoIConfig.preset(name)
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration(config)
    text: Any = config.text_config
    vision: Any = config.vision_config
    assert model.num_parameters() == parameters
    assert (config.hidden_size, text.num_hidden_layers, config.vocab_size) == (hidden, layers, vocabulary)
    assert (config.pyramid_sizes, list(config.region_layers), config.num_fusions) == ([128, 64, 32, 16], [-11, -8, -5, -2], 5)
    assert (config.region_channels, config.roi_size, config.sampling_ratio, config.image_size) == (1024, 14, 2, 224)
    assert (vision.num_hidden_layers, config.num_image_tokens, config.grid_side) == (24, 256, 16)
    if name == "gpt4roi-7b":
        assert sum(each.numel() for each in model.region_encoder.parameters()) == 299_142_912


def test_nano_is_small_and_consistent() -> None:
    config = GPT4RoIConfig.preset("nano")
    model = GPT4RoIForConditionalGeneration(config).eval()
    assert 4 * model.num_parameters() <= 16e6 and config.prompt == "nano" and config.domain
    ids = torch.tensor([[1, *[config.image_token_id] * config.num_image_tokens, config.region_token_id]])
    with torch.no_grad():
        output = model(input_ids=ids, pixel_values=torch.randn(1, 3, 128, 128), boxes=[torch.tensor([[0.3, 0.1, 0.9, 0.4]])])
    assert output.logits.shape == (1, ids.shape[1], config.vocab_size)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match=", ".join(PRESETS)):
        GPT4RoIConfig.preset("gpt4roi-70b")
