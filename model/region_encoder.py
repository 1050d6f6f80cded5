"""The region encoder under its earlier name; it is now in `roi_agent.model.gpt4roi.region_encoder`."""

from roi_agent.model.gpt4roi.region_encoder import RegionEncoder

__all__ = ["RegionEncoder"]
