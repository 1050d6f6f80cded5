"""What hosts of MCP do: call tools, read resources, and come to a right answer."""

import base64
import io
from typing import Any

from mcp.client.client import Client
from PIL import Image

from tests.serving import ROOT

SCENE = ROOT / "examples" / "scene1.png"
DATA_URL = "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()
KEY = "a-key-of-16-chars"


async def call(client: Client, tool: str, arguments: dict[str, Any], **options: Any) -> Any:
    return await client.call_tool(tool, arguments, **options)


async def contents(client: Client, uri: str) -> list[Any]:
    return list((await client.read_resource(uri)).contents)


async def right_answer(client: Client, image: str, **workspace: str) -> None:
    """What any host's model would do: find, ask, compare, look."""
    opened = await call(client, "open_image", {"image": image, **workspace})
    assert not opened.is_error, opened.content
    named = opened.structured_content["data"].get("workspace")
    where = {"workspace": named} if named else {}
    found = await call(client, "find_regions", {"phrases": ["orange umbrella", "yellow square"], **where})
    regions = {region["label"]: region["name"] for region in found.structured_content["regions"]}
    umbrella, square = regions["orange umbrella"], regions["yellow square"]
    asked = await call(client, "ask_about_regions", {"question": f"What colour is <{umbrella}>?", **where})
    assert asked.content[0].text.startswith("orange (confidence ")
    compared = await call(client, "compare_regions", {"first": umbrella, "second": square, **where})
    assert "left of" in compared.content[0].text and not compared.is_error
    looked = await call(client, "look_at_image", where)
    picture = next(each for each in looked.content if each.type == "image")
    assert picture.mime_type == "image/png" and Image.open(io.BytesIO(base64.b64decode(picture.data))).size == (512, 512)
