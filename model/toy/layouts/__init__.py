"""Write scenes of the toy world in the layouts of public data sets, to try a whole pipeline without a download.

A layout writes `images/` and annotations into a folder, for the reader of the same name. Scenes with seeds from TRAINING_SEEDS on
form the training split; scenes with smaller seeds, which are held out, form the validation split.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from roi_agent.model.toy.layouts.coco import write_coco
from roi_agent.model.toy.layouts.flickr30k import write_flickr30k
from roi_agent.model.toy.layouts.llava import write_llava
from roi_agent.model.toy.layouts.refcoco import write_refcoco
from roi_agent.model.toy.layouts.vcr import write_vcr
from roi_agent.model.toy.layouts.visual7w import write_visual7w
from roi_agent.model.toy.layouts.visual_genome import write_visual_genome

Layout = Callable[[Path, Sequence[int], int], None]  # folder, seeds, side in pixels

LAYOUTS: dict[str, Layout] = {
    "coco": write_coco,
    "refcoco": partial(write_refcoco, "refcoco"),
    "refcoco+": partial(write_refcoco, "refcoco+"),
    "refcocog": partial(write_refcoco, "refcocog"),
    "flickr30k": write_flickr30k,
    "visual-genome": write_visual_genome,
    "llava-instruct": write_llava,
    "vcr": write_vcr,
    "vcr-qa": write_vcr,
    "vcr-qar": write_vcr,
    "visual7w-telling": write_visual7w,
    "visual7w-pointing": write_visual7w,
}
