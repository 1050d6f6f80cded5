"""The region encoder under the name that it had first; it is in `roi_agent.model.gpt4roi.region_encoder`."""

from roi_agent.model.gpt4roi.region_encoder import RegionEncoder

__all__ = ["RegionEncoder"]
