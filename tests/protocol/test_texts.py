"""Texts that cannot be written: half a surrogate pair, which Python's JSON reader takes, is refused wherever it comes in."""

from pathlib import Path
from typing import Any

import pytest

from roi_agent import Workspace, load_region_model
from roi_agent.loading import build_toolbox
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.tools.toolbox import Toolbox

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
HALF = "half \ud83d"
BOX = [123, 194, 303, 377]


@pytest.fixture(scope="module")
def model() -> RegionModel:
    return load_region_model("nano")


@pytest.fixture(scope="module")
def toolbox() -> Toolbox:
    workspace = Workspace()
    workspace.add_regions([BOX], image=workspace.add_image(SCENE))
    return build_toolbox(workspace)


@pytest.mark.parametrize(
    "given",
    [
        {"question": f"{HALF} <region1>?"},
        {"question": "What is <region1>?", "regions": [{"box": BOX, "label": HALF}]},
        {"question": "What is <region1>?", "regions": [{"box": BOX, "source": HALF}]},
        {"question": "What is <region1>?", "regions": [{"box": BOX, "prompt": HALF}]},
        {"question": "What is <region1>?", "regions": [{"box": BOX, "name": HALF}]},
        {"question": "What is <region1>?", "options": ["a", HALF]},
    ],
)
def test_a_model_refuses_it(model: RegionModel, given: dict[str, Any]) -> None:
    asked = {"regions": [BOX], **given}
    with pytest.raises(InvalidSetting) as caught:
        (model.choose if "options" in given else model.ask)(SCENE, **asked)
    str(caught.value).encode()  # and the error can be written


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("find_regions", {"phrases": ["a", HALF]}),
        ("find_regions", '{"phrases": ["half \\ud83d"]}'),
        ("add_region", {"box": BOX, "label": HALF}),
        ("ask_about_regions", {"question": f"{HALF} <region1>"}),
        ("ask_about_regions", {"question": "What is <region1>?", HALF: 1}),
        (HALF, {}),
    ],
)
def test_a_tool_replies_what_is_wrong(toolbox: Toolbox, tool: str, arguments: Any) -> None:
    reply = toolbox.call(tool, arguments)
    assert reply.error in ("invalid_setting", "invalid_arguments"), reply
    reply.text.encode()


def test_a_whole_pair_is_a_sign_like_any_other(toolbox: Toolbox) -> None:
    assert toolbox.call("add_region", {"box": BOX, "label": "\U0001f600"}).error is None
