"""Tools and resources through MCP: the SDK's own client, in this process."""

import base64
import io
import json
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from PIL import Image

from roi_agent import __version__
from roi_agent.loading import build_toolbox
from tests.mcp.hosts import SCENE, call, contents, right_answer

# -- tools


async def test_a_host_gets_right_answers(client: Client) -> None:
    async with client:
        await right_answer(client, str(SCENE))
        assert client.server_info is not None and client.server_info.version == __version__
        assert "open_image" in (client.instructions or "")


async def test_the_tools_are_those_of_the_toolbox_with_their_schemas(client: Client, apart: Client) -> None:
    async with client, apart:
        expected = {each["function"]["name"]: each["function"] for each in build_toolbox().openai_tools()}
        tools: dict[str, Any] = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {*expected, "open_image"}
        for name, wanted in expected.items():
            assert tools[name].description == wanted["description"]
            assert tools[name].input_schema["properties"] == wanted["parameters"]["properties"]
            assert tools[name].output_schema is not None and tools[name].annotations is not None
        assert tools["ask_about_regions"].annotations.read_only_hint and not tools["find_regions"].annotations.read_only_hint
        for tool in (await apart.list_tools()).tools:
            assert "workspace" in tool.input_schema["properties"]
            assert ("workspace" in tool.input_schema["required"]) == (tool.name != "open_image")


async def test_tools_that_only_read_add_no_image_and_no_region(client: Client) -> None:
    examples: dict[str, dict[str, Any]] = {
        "ask_about_regions": {"question": "What colour is <region1>?", "closer": True},
        "ask_each_region": {"question": "What is <region>?"},
        "choose_answer": {"question": "What is <region1>?", "options": ["a star", "a flag"]},
        "compare_regions": {"first": "region1", "second": "region2"},
        "order_regions": {"order": "nearest first", "to": "region1"},
        "select_regions": {"place": "left"},
        "count_regions": {},
        "list_regions": {},
        "look_at_image": {},
    }
    async with client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools if tool.annotations and tool.annotations.read_only_hint} == set(examples)
        await call(client, "open_image", {"image": str(SCENE)})
        for box in ([20, 60, 40, 80], [200, 20, 225, 40]):
            await call(client, "add_region", {"box": box})
        before = (await client.list_resources()).resources
        for tool, arguments in examples.items():
            assert not (await call(client, tool, arguments)).is_error
        assert (await client.list_resources()).resources == before
        listed = await call(client, "list_regions", {})
        assert [image["name"] for image in listed.structured_content["data"]["images"]] == ["image1"]


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("ask_about_regions", {"question": "What is <region9>?"}, "unknown_region: region9"),
        ("ask_about_regions", {"question": "What is <region9>?", "loudly": True}, "invalid_arguments: loudly"),
        ("ask_about_regions", {}, "invalid_arguments: question"),
        ("find_everything", {}, "invalid_setting: there is no tool 'find_everything'; use find_regions"),
        ("open_image", {"image": "nowhere.png"}, "image_unreadable"),
        ("open_image", {"image": 7}, "invalid_setting: open_image takes one image"),
        ("open_image", {}, "invalid_setting: open_image takes one image"),
        ("open_image", {"image": "http://169.254.169.254/"}, "image_unreadable"),
        ("add_region", {"box": [0, 0, 9999, 10]}, "box_out_of_bounds"),
    ],
)
async def test_errors_are_ones_that_a_model_can_act_on(
    client: Client, tool: str, arguments: dict[str, Any], problem: str
) -> None:
    async with client:
        await call(client, "open_image", {"image": str(SCENE)})
        told = await call(client, tool, arguments)
        assert told.is_error and told.content[0].text.startswith(problem), told.content


async def test_progress_is_reported_while_a_tool_runs(client: Client) -> None:
    async with client:
        heard: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, message))

        await call(client, "open_image", {"image": str(SCENE)})
        await call(client, "segment_everything", {}, progress_callback=note)
        assert heard[0][1] == "segment_everything has started" and heard[-1][1] == "segment_everything is done"
        steps = [progress for progress, _ in heard]
        assert steps == sorted(set(steps)) and len(steps) >= 2


# -- resources


async def test_images_and_regions_are_resources(client: Client) -> None:
    async with client:
        await call(client, "open_image", {"image": str(SCENE)})
        await call(client, "add_region", {"box": [123, 194, 303, 377], "label": "umbrella"})
        listed = {str(each.uri): each.mime_type for each in (await client.list_resources()).resources}
        assert listed == {"roi://images/image1": "image/png", "roi://regions": "application/json"}
        (image,) = await contents(client, "roi://images/image1")
        assert Image.open(io.BytesIO(base64.b64decode(image.blob))).tobytes() == Image.open(SCENE).convert("RGB").tobytes()
        (regions,) = await contents(client, "roi://regions")
        (region,) = await contents(client, "roi://regions/region1")
        assert json.loads(regions.text) == [json.loads(region.text)]
        assert json.loads(region.text)["box"] == [123, 194, 303, 377]
        assert len((await client.list_resource_templates()).resource_templates) == 2
        for uri in ("roi://images/image9", "roi://regions/region9", "roi://secrets", "roi://ws-000000000000000000000000/x"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)
