"""Workspaces of hosts over HTTP: apart from one another, with files of allowed folders only, and forgotten in time."""

import json
from pathlib import Path

import pytest
from mcp.client.client import Client

from roi_agent.mcp import Workspaces
from roi_agent.mcp.workspaces import IDLE_TIMEOUT_S
from roi_agent.model.errors import ImageUnreadable, InvalidSetting
from roi_agent.tools.models import Models
from tests.mcp.hosts import DATA_URL, SCENE, call, contents


async def test_clients_over_http_do_not_see_one_another(apart: Client) -> None:
    async with apart:
        names = []
        for _ in range(2):
            opened = await call(apart, "open_image", {"image": DATA_URL})
            names.append(opened.structured_content["data"]["workspace"])
            assert opened.content[0].text.startswith("image1 (512 x 512 pixels) in the workspace ws-")
        first, second = names
        await call(apart, "add_region", {"box": [0, 0, 50, 50], "workspace": first})
        told = await call(apart, "list_regions", {"workspace": second})
        assert told.structured_content["regions"] == []
        assert (await apart.list_resources()).resources == []
        (region,) = await contents(apart, f"roi://{first}/regions/region1")
        assert json.loads(region.text)["box"] == [0, 0, 50, 50]
        for workspace in ({}, {"workspace": "ws-" + "0" * 24}, {"workspace": 7}):
            told = await call(apart, "list_regions", workspace)
            assert told.is_error and told.content[0].text.startswith("invalid_setting")
        more = await call(apart, "open_image", {"image": DATA_URL, "workspace": first})
        assert not more.is_error and more.structured_content["data"]["image"] in ("image1", "image2")


def test_files_are_read_from_allowed_folders_only(models: Models, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link.png").symlink_to(outside / "secret.png")
    workspaces = Workspaces(models, folders=[inside])
    workspaces.check_source(str(inside / "any.png"))
    workspaces.check_source(DATA_URL)
    (outside / "secret.png").write_bytes(SCENE.read_bytes())
    told = set()
    for path in (outside / "secret.png", outside / "none.png", inside / ".." / "outside" / "secret.png", inside / "link.png"):
        with pytest.raises(ImageUnreadable) as caught:
            workspaces.check_source(str(path))
        told.add(str(caught.value))
    assert len(told) == 1  # nothing tells whether there is a file
    with pytest.raises(ImageUnreadable):
        workspaces.check_source("\0")


def test_workspaces_are_forgotten_by_time_and_number(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roi_agent.mcp.workspaces.MAX_WORKSPACES", 3)
    now = 0.0
    workspaces = Workspaces(models, folders=[], clock=lambda: now)
    names = [workspaces.open()[0] for _ in range(4)]
    assert len(workspaces) == 3 and len(set(names)) == 4
    with pytest.raises(InvalidSetting, match="expired"):
        workspaces.get(names[0])
    now = IDLE_TIMEOUT_S + 1
    with pytest.raises(InvalidSetting, match="expired"):
        workspaces.get(names[3])
