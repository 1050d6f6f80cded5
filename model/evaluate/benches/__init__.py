"""The benches of `roi-agent evaluate`."""

from roi_agent.model.evaluate.benches.base import Bench
from roi_agent.model.evaluate.benches.boxes import Boxes
from roi_agent.model.evaluate.benches.captions import Captions
from roi_agent.model.evaluate.benches.pope import Pope
from roi_agent.model.evaluate.benches.vcr import Vcr
from roi_agent.model.evaluate.benches.visual7w import Visual7W

BENCHES: dict[str, type[Bench]] = {each.name: each for each in (Captions, Boxes, Vcr, Visual7W, Pope)}
