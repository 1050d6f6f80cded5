"""Readers of public data sets as they are distributed, each into records; `roi-agent data convert --help` lists them."""

from roi_agent.model.data.readers.base import Reader
from roi_agent.model.data.readers.coco import CocoInstances

READERS: dict[str, type[Reader]] = {each.name: each for each in (CocoInstances,)}
