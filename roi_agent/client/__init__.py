"""The models of a server as the same objects as those in this process, which then needs no GPU and no weights."""

from roi_agent.client.connection import Connection
from roi_agent.client.finding import RemoteDetector, RemoteSegmenter
from roi_agent.client.region_model import RemoteRegionModel

__all__ = ["Connection", "RemoteDetector", "RemoteRegionModel", "RemoteSegmenter"]
