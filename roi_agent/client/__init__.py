"""Models on a server, with the interfaces of local models; this process needs no GPU and no weights."""

from roi_agent.client.connection import Connection
from roi_agent.client.finding import RemoteDetector, RemoteSegmenter
from roi_agent.client.region_model import RemoteRegionModel

__all__ = ["Connection", "RemoteDetector", "RemoteRegionModel", "RemoteSegmenter"]
