"""The tools as planners meet them: LangChain's own tests, messages to recover from, OpenAI schemas alone."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from PIL import Image

from roi_agent import Workspace, build_toolbox
from roi_agent.model.errors import InvalidSetting
from roi_agent.tools.toolbox import Toolbox

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
BOXES = {"umbrella": [123, 194, 303, 377], "flag": [141, 9, 246, 134], "square": [315, 145, 504, 334]}


def find(image: Image.Image, phrases: list[str]) -> list[dict[str, Any]]:
    """A detector that knows the scene by heart, and fails for a dragon."""
    if "dragon" in phrases:
        raise RuntimeError("here be dragons")
    return [{"box": BOXES[phrase], "label": phrase, "score": 0.9} for phrase in phrases if phrase in BOXES]


def toolbox(**options: Any) -> Toolbox:
    """A toolbox over one image and three regions: umbrella, flag, square."""
    workspace = Workspace()
    workspace.add_image(SCENE)
    box = build_toolbox(workspace, detector=find, **options)
    box.call("find_regions", {"phrases": list(BOXES)})
    return box


EXAMPLES: dict[str, dict[str, Any]] = {
    "find_regions": {"phrases": ["flag"]},
    "segment_regions": {"points": [[200, 230]]},
    "segment_everything": {},
    "add_region": {"box": [1, 2, 30, 40], "label": "corner"},
    "list_regions": {},
    "ask_about_regions": {"question": "What colour is <region2>?"},
    "ask_each_region": {"question": "What is <region>?"},
    "choose_answer": {"question": "What colour is <region2>?", "options": ["pink", "blue"]},
    "compare_regions": {"first": "region1", "second": "<region3>"},
    "order_regions": {"order": "left to right"},
    "select_regions": {"relation": "left of", "to": "region3"},
    "count_regions": {},
    "look_at_image": {},
    "zoom_in": {"region": "region2"},
}


class _OneTool:
    """What LangChain's tests of a tool need to know."""

    name: str

    @property
    def tool_constructor(self) -> BaseTool:
        return next(tool for tool in toolbox().tools() if tool.name == self.name)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return EXAMPLES[self.name]


for _name in EXAMPLES:
    for _tests in (ToolsUnitTests, ToolsIntegrationTests):
        globals()[f"Test{_tests.__name__}_{_name}"] = type(f"Test_{_name}", (_OneTool, _tests), {"name": _name})


@pytest.mark.parametrize(
    "name,said",
    [
        ("find_regions", "1 found in image1: region2 (flag, 0.90)"),
        ("segment_regions", "1 mask in image1: region4 ("),
        ("segment_everything", "7 masks in image1: region4 (35"),
        ("add_region", "region4 (corner) in image1 at 1,2,30,40"),
        ("list_regions", "images: image1 (512 x 512 pixels)\nregions: region1 (umbrella) in image1 at 123,194,303,377; region2"),
        ("ask_about_regions", "pink (confidence "),
        ("ask_each_region", "region1: a large orange umbrella (confidence "),
        ("choose_answer", "pink (confidence "),
        ("compare_regions", "region1 is left of and below region3; they do not overlap, 12 px lie between them"),
        ("order_regions", "left to right: region2 (flag) in image1 at 141,9,246,134; region1"),
        ("select_regions", "left of region3: region1 (umbrella) in image1 at 123,194,303,377; region2 (flag) in"),
        ("count_regions", "3 regions: 1 umbrella, 1 flag, 1 square"),
        ("look_at_image", "image1, 512 x 512 pixels, with region1 (umbrella)"),
        ("zoom_in", "image2 is the part of image1 around region2, "),
    ],
)
def test_replies_are_short_texts_with_handles(name: str, said: str) -> None:
    reply = toolbox().call(name, EXAMPLES[name])
    assert reply.error is None and reply.text.startswith(said)
    json.dumps(reply.artifact())


def test_langchain_tools_carry_regions_and_pictures_as_artifacts() -> None:
    tools = {tool.name: tool for tool in toolbox().tools()}
    message = tools["zoom_in"].invoke({"type": "tool_call", "id": "1", "name": "zoom_in", "args": {"region": "region2"}})
    assert isinstance(message, ToolMessage) and message.status == "success" and isinstance(message.content, str)
    assert message.artifact["picture"]["mime_type"] == "image/png"
    found = tools["find_regions"].invoke({"type": "tool_call", "id": "2", "name": "find_regions", "args": {"phrases": ["flag"]}})
    assert found.artifact["regions"][0]["name"] == "region2"
    assert found.artifact["data"]["best_scores"] == {"flag": 0.9}


def test_planners_that_see_are_shown_the_pictures() -> None:
    tools = {tool.name: tool for tool in toolbox(pictures=True).tools()}
    message = tools["look_at_image"].invoke({"type": "tool_call", "id": "1", "name": "look_at_image", "args": {}})
    text, picture = message.content
    assert text["type"] == "text" and text["text"].startswith("image1")
    assert (picture["type"], picture["mime_type"]) == ("image", "image/png")


@pytest.mark.parametrize(
    "name,arguments,said",
    [
        ("ask_about_regions", {"question": "What is <region7>?"}, r"unknown_region: region7; there is region1..region3"),
        ("ask_about_regions", {"question": ""}, "invalid_arguments: question: String should have at least 1 character"),
        ("ask_about_regions", {"text": "What?"}, "invalid_arguments: question: Field required; text: Extra inputs"),
        ("ask_each_region", {"question": "What is <region1>?"}, "write <region>, which stands for each of them"),
        ("choose_answer", {"question": "What?", "options": ["a"]}, "at least 2 items"),
        ("find_regions", {"phrases": [" . "]}, "invalid_setting: there is no phrase to look for"),
        ("find_regions", {"phrases": []}, "at least 1 item"),
        ("find_regions", {"phrases": ["star"], "image": "image9"}, "unknown_image: image9; there is image1"),
        ("find_regions", {"phrases": ["star"], "threshold": "nan"}, "invalid_arguments: threshold"),
        ("find_regions", {"phrases": ["dragon"]}, "model_failed: the detector failed: RuntimeError: here be dragons"),
        ("segment_regions", {}, "there is no prompt; give points, boxes, regions or a mask"),
        ("segment_regions", {"points": [[600, 5]]}, "point_invalid: the point .* lies outside the image"),
        ("segment_regions", {"points": [[float("nan"), 5]]}, "invalid_arguments: points.0.0: Input should be a finite number"),
        ("add_region", {"box": [0, 0, 600, 5]}, "box_out_of_bounds: region1: x2 is 600 in an image 512 wide"),
        ("add_region", {"box": [5, 5, 5]}, "at least 4 items"),
        ("compare_regions", {"first": "the star", "second": "region1"}, "invalid_arguments: first"),
        ("order_regions", {"order": "upwards"}, "Input should be 'left to right'"),
        ("order_regions", {"order": "nearest first"}, "the order 'nearest first' and `to` do not match; `to` belongs to nearest"),
        ("select_regions", {"relation": "left of"}, "neither a relation to a region nor a place is given; give `relation` and"),
        ("select_regions", {"relation": "beside", "to": "region1"}, "invalid_arguments: relation"),
        ("zoom_in", {"region": "region1", "margin": -1}, "greater than or equal to 0"),
    ],
)
def test_failures_are_messages_to_recover_from(name: str, arguments: dict[str, Any], said: str) -> None:
    box = toolbox()
    before = box.workspace.regions(), box.workspace.images
    reply = box.call(name, arguments)
    assert reply.error is not None
    (tool,) = (tool for tool in box.tools() if tool.name == name)
    message = tool.invoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})
    assert message.status == "error"
    assert message.content == reply.text
    assert re.search(said, reply.text) and "\n" not in reply.text and "Traceback" not in reply.text
    assert (box.workspace.regions(), box.workspace.images) == before


def test_what_is_near_is_said_to_be_measured_between_centres() -> None:
    reply = toolbox().call("order_regions", {"order": "nearest first", "to": "region1"})
    assert reply.text.startswith("nearest first, between centres: region3 (square) in image1") and not reply.error


def test_schemas_alone_are_enough_for_another_framework() -> None:
    box = toolbox()
    schemas = box.openai_tools()
    assert [schema["function"]["name"] for schema in schemas] == list(box.names)
    for schema in schemas:
        function = schema["function"]
        assert len(function["description"]) > 40 and function["parameters"]["type"] == "object"
        assert all("description" in value or "anyOf" in value for value in function["parameters"]["properties"].values())
    json.dumps(schemas)
    reply = box.call("ask_about_regions", '{"question": "What colour is <region2>?"}')
    assert reply.text.startswith("pink")


@pytest.mark.parametrize(
    "name,arguments,said",
    [
        ("draw_moustache", "{}", "there is no tool 'draw_moustache'; use find_regions, "),
        ("count_regions", "{", "invalid_arguments: no JSON"),
        ("count_regions", "[]", "the arguments are a list; give an object"),
    ],
)
def test_calls_that_are_none_are_explained(name: str, arguments: str, said: str) -> None:
    reply = toolbox().call(name, arguments)
    assert reply.error and said in reply.text


def test_an_empty_workspace_says_so() -> None:
    box = build_toolbox(detector=find)
    assert box.call("list_regions", {}).text == "images: none\nregions: none"
    assert box.call("find_regions", {"phrases": ["star"]}).text == "unknown_image: the workspace has no image; add an image first"
    box.workspace.add_image(np.zeros((9, 9, 3), np.uint8))
    assert box.call("count_regions", {}).text == "0 regions"
    assert box.call("order_regions", {"order": "top to bottom"}).text == "top to bottom: no regions"


def test_a_crop_speaks_of_what_lies_in_it() -> None:
    box = toolbox()
    assert box.call("zoom_in", {"region": "region2"}).text.startswith("image2")
    assert box.call("count_regions", {"image": "image2"}).text == "1 region: 1 flag"
    assert box.call("count_regions", {"image": "image1"}).text.startswith("3 regions")


def test_regions_are_selected_by_relation_and_place_and_sorted_by_nearness() -> None:
    box = toolbox()

    def names(tool: str, **arguments: Any) -> list[str]:
        reply = box.call(tool, arguments)
        assert reply.error is None, reply.text
        return [region.name for region in reply.regions]

    assert names("select_regions", place="top") == ["region2", "region3"]
    assert names("select_regions", place="top", relation="left of", to="region3") == ["region2"]
    assert names("select_regions", relation="larger than", to="region2", regions=["region2", "region3"]) == ["region3"]
    assert names("order_regions", order="nearest first", to="region2") == ["region1", "region3"]
    assert names("order_regions", order="farthest first", to="region2") == ["region3", "region1"]
    assert box.call("select_regions", {"place": "bottom left", "regions": ["region3"]}).text == "in the bottom left: none"


def test_tools_are_left_out_by_name_or_group() -> None:
    box = toolbox(without=["measure", "zoom_in"])
    assert {"compare_regions", "order_regions", "select_regions", "count_regions", "zoom_in"}.isdisjoint(box.names)
    assert "look_at_image" in box.names
    assert "there is no tool 'zoom_in'; use find_regions, " in box.call("zoom_in", {"region": "region1"}).text
    with pytest.raises(InvalidSetting, match="there is no tool 'measuring'; use detect, segment, ask, measure"):
        toolbox(without=["measuring"])


def test_a_closer_look_is_taken_when_it_is_asked_for() -> None:
    box = toolbox()
    question = {"question": "What colour is <region2>?"}
    plain, closer = (box.call("ask_about_regions", {**question, "closer": closer}).data for closer in (False, True))
    assert plain["first_look"] is None
    assert closer["first_look"]["text"] == plain["text"] == closer["text"]
