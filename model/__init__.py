"""GPT4RoI as a Hugging Face model: a vision-language model that takes boxes as part of the question.

Names are imported on first use, because modules such as `roi_agent.model.geometry.regions` need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
    from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration, ImageFeatures
    from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
    from roi_agent.model.gpt4roi.region_encoder import RegionEncoder
    from roi_agent.model.protocol.answers import Answer, Choice, Decoding
    from roi_agent.model.protocol.region_model import RegionModel

__all__ = [
    "Answer",
    "Choice",
    "Decoding",
    "GPT4RoIConfig",
    "GPT4RoIForConditionalGeneration",
    "GPT4RoIProcessor",
    "ImageFeatures",
    "RegionEncoder",
    "RegionModel",
]

_HOMES = {
    "Answer": "roi_agent.model.protocol.answers",
    "Choice": "roi_agent.model.protocol.answers",
    "Decoding": "roi_agent.model.protocol.answers",
    "GPT4RoIConfig": "roi_agent.model.gpt4roi.configuration",
    "GPT4RoIForConditionalGeneration": "roi_agent.model.gpt4roi.modeling",
    "GPT4RoIProcessor": "roi_agent.model.gpt4roi.processing",
    "ImageFeatures": "roi_agent.model.gpt4roi.modeling",
    "RegionEncoder": "roi_agent.model.gpt4roi.region_encoder",
    "RegionModel": "roi_agent.model.protocol.region_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
