"""GPT4RoI as a Hugging Face model: a vision-language model that takes boxes as part of the question.

Names are loaded when they are first used: `roi_agent.model.regions` and its like need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roi_agent.model.configuration import GPT4RoIConfig
    from roi_agent.model.modeling import GPT4RoIForConditionalGeneration, ImageFeatures
    from roi_agent.model.processing import GPT4RoIProcessor
    from roi_agent.model.region_encoder import RegionEncoder

__all__ = ["GPT4RoIConfig", "GPT4RoIForConditionalGeneration", "GPT4RoIProcessor", "ImageFeatures", "RegionEncoder"]

_HOMES = {
    "GPT4RoIConfig": "roi_agent.model.configuration",
    "GPT4RoIForConditionalGeneration": "roi_agent.model.modeling",
    "GPT4RoIProcessor": "roi_agent.model.processing",
    "ImageFeatures": "roi_agent.model.modeling",
    "RegionEncoder": "roi_agent.model.region_encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
