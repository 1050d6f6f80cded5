"""Scenes of the toy world written as public data sets are distributed: a reader of such a layout then reads known truth."""

from collections.abc import Callable, Sequence
from pathlib import Path

from roi_agent.model.data.layouts.llava import write_llava
from roi_agent.model.data.layouts.vcr import write_vcr
from roi_agent.model.data.layouts.visual7w import write_visual7w

Layout = Callable[[Path, Sequence[int], int], None]  # (folder, seeds of scenes, side of the images in pixels)

LAYOUTS: dict[str, Layout] = {
    "llava-instruct": write_llava,
    "vcr": write_vcr,
    "visual7w": write_visual7w,
}
