"""Readers of public data sets, as distributed; `roi-agent data formats` lists them."""

from roi_agent.model.data.readers.base import Reader
from roi_agent.model.data.readers.boxes_csv import BoxesCsv
from roi_agent.model.data.readers.boxes_json import BoxesJson
from roi_agent.model.data.readers.coco import CocoInstances
from roi_agent.model.data.readers.flickr30k import Flickr30kEntities
from roi_agent.model.data.readers.llava import LlavaInstruct
from roi_agent.model.data.readers.refcoco import RefCoco, RefCocoG, RefCocoPlus
from roi_agent.model.data.readers.vcr import Vcr, VcrAnswer, VcrRationale
from roi_agent.model.data.readers.visual7w import Visual7WPointing, Visual7WTelling
from roi_agent.model.data.readers.visual_genome import VisualGenome

READERS: dict[str, type[Reader]] = {
    each.name: each
    for each in (
        CocoInstances,
        RefCoco,
        RefCocoPlus,
        RefCocoG,
        Flickr30kEntities,
        VisualGenome,
        LlavaInstruct,
        Vcr,
        VcrAnswer,
        VcrRationale,
        Visual7WTelling,
        Visual7WPointing,
        BoxesJson,
        BoxesCsv,
    )
}
