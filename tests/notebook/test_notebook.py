"""In notebooks everything shows itself, escaped and small."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roi_agent import Box, Region, Workspace
from roi_agent.model.errors import BoxOutOfBounds, InvalidSetting
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.answers import Answer, Choice, Timing, Usage
from roi_agent.model.protocol.chat import Chat
from roi_agent.model.protocol.conversation import Turn
from roi_agent.notebook import gallery
from roi_agent.tools.ask import Asked
from roi_agent.tools.detect import Detection
from roi_agent.tools.segment import Segmentation
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.view import View, overview
from roi_agent.trace import Step, Trace
from roi_agent.trace import Usage as TraceUsage
from tests.notebook.pictures import EVIL, LARGE, REGION

pytestmark = pytest.mark.filterwarnings("ignore:Traits should be given as instances:DeprecationWarning")  # the widget's own

USED, TIMED = Usage(1, 1), Timing(0.1, 0.1, False)
ANSWER = Answer(EVIL, 0.75, (REGION,), USED, TIMED, (EVIL,))


def chat() -> Chat:
    held = Chat(None, LARGE, (REGION,))  # type: ignore[arg-type]  # nothing is asked
    held.turns.append(Turn(EVIL, EVIL))
    return held


def workspace() -> Workspace:
    return Workspace.of([WorkspaceImage("image1", LARGE)], [Region("region1", REGION.box, label=EVIL, image="image1")])


def trace() -> Trace:
    step = Step(1, "tool", EVIL, EVIL, {EVIL: EVIL}, ("region1",), "image1")
    thought = Step(2, "planner", "offline", EVIL)
    texts: dict[str, Any] = {"task": EVIL, "thread": "t", "planner": EVIL, "models": {}, "started": ""}
    outcome: dict[str, Any] = {"status": "answered", "answer": EVIL, "said": EVIL, "regions": ("region1",), "confidence": 0.5}
    rest: dict[str, Any] = {"doubts": (EVIL,), "usage": TraceUsage(), "cost": None, "second_look": "small"}
    return Trace(**texts, **outcome, **rest, steps=(step, thought, step), workspace=workspace())


SHOWN: dict[str, Callable[[], Any]] = {
    "image": lambda: LARGE,
    "image of a workspace": lambda: WorkspaceImage("image1", LARGE),
    "region": lambda: REGION,
    "answer": lambda: ANSWER,
    "choice": lambda: Choice(EVIL, 0, 0.9, (EVIL, "b"), (-1.0, -2.0), (REGION,), USED, TIMED, (EVIL,)),
    "chat": chat,
    "workspace": workspace,
    "detection": lambda: Detection("image1", (REGION,), (EVIL,), 0.3, {EVIL: 0.5}, (EVIL,)),
    "segmentation": lambda: Segmentation("image1", (REGION,), (EVIL,)),
    "asked": lambda: Asked(EVIL, ANSWER, "image1", (REGION,), "image2", ANSWER),
    "trace": trace,
    "gallery": lambda: gallery(LARGE, [ANSWER, REGION]),
}


class _Reader(HTMLParser):
    """What a browser would find."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("what", SHOWN)
def test_what_is_shown_is_escaped_small_and_readable_in_the_dark(what: str) -> None:
    page = SHOWN[what]()._repr_html_()
    read = _Reader(page)
    assert read.open == [] and "script" not in read.tags
    assert EVIL in read.text or any(EVIL in each for each in read.attributes["alt"])
    assert len(page) < 2_000_000  # of noise, which no format makes small
    assert not set(read.attributes) - {"style", "src", "alt"}
    styles = ";".join(read.attributes["style"])
    assert "background" not in styles and not re.search(r"(?<![-\w])color:", styles)  # the notebook's own ones are used
    for source in read.attributes.get("src", []):
        assert source.startswith("data:image/")


def test_things_without_regions_show_themselves_too() -> None:
    assert "no region" in Detection("image1", (), (), 0.3, {})._repr_html_()
    assert "0 images" in Workspace()._repr_html_()
    assert "region" not in Answer("yes", 1.0, (), USED, TIMED)._repr_html_()
    assert "no region" in gallery(LARGE, [])._repr_html_()


def test_a_picture_of_one_pixel_and_a_region_thinner_than_one_are_shown() -> None:
    dot = load_image(np.zeros((1, 1, 3), np.uint8))
    assert "1 x 1 pixels" in dot._repr_html_()
    assert "<img" in gallery(dot, [Region("region1", Box(0.2, 0.2, 0.4, 0.9))])._repr_html_()


def test_a_long_table_says_how_many_rows_it_leaves_out() -> None:
    regions = [Region(f"region{number}", Box(0, 0, 9, 9)) for number in range(1, 201)]
    page = gallery(LARGE, regions)._repr_html_()
    assert page.count("<img") == 50 and "... and 150 more" in page
    assert len(page) < 1_000_000


def test_a_view_is_a_picture_at_most_768_pixels_wide(tmp_path: Path) -> None:
    view: View = overview(workspace())
    (tmp_path / "view.png").write_bytes(view._repr_png_())
    with Image.open(tmp_path / "view.png") as shown:
        assert shown.size == (768, 576)


def test_a_mask_stands_in_the_table_of_its_region() -> None:
    mask = Mask.from_array(np.ones((5, 4), bool))
    assert "<td" in (page := Region("region1", mask.box, mask=mask)._repr_html_()) and "20 px" in page


def test_a_gallery_sets_answers_beside_their_regions() -> None:
    other = Answer("a bell", 0.25, (Region("region2", Box(0, 0, 50, 50)),), USED, TIMED)
    page = gallery(LARGE, [ANSWER, Asked("What?", other, "image1", other.regions)])._repr_html_()
    assert page.index("region1") < page.index("0.75") < page.index("region2") < page.index("a bell") < page.index("0.25")
    with pytest.raises(InvalidSetting, match="an answer is about 0 regions"):
        gallery(LARGE, [Answer("yes", 1.0, (), USED, TIMED)])
    with pytest.raises(BoxOutOfBounds):
        gallery(np.zeros((9, 9, 3), np.uint8), [REGION])


# Boxes drawn with the mouse: what the front end sets is set here, on the widget itself.
