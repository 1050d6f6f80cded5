"""Sixteen questions about one scene, and what the model itself generates for each."""

import pytest

from roi_agent import load_region_model
from roi_agent.model.engine import Request
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage, load_image
from tests.engine.asked import BOXES, SCENE, SIXTEEN, generated, request


@pytest.fixture(scope="session")
def nano() -> LocalRegionModel:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    return model


@pytest.fixture(scope="session")
def scene() -> LoadedImage:
    return load_image(SCENE)


@pytest.fixture(scope="session")
def regions(scene: LoadedImage) -> tuple[Region, ...]:
    return parse_regions(BOXES, size_wh=scene.size_wh, format="xyxy", unit="pixel")


@pytest.fixture(scope="session")
def requests(nano: LocalRegionModel, scene: LoadedImage, regions: tuple[Region, ...]) -> list[Request]:
    return [request(nano, scene, regions, question) for question in SIXTEEN]


@pytest.fixture(scope="session")
def expected(nano: LocalRegionModel, requests: list[Request]) -> list[list[int]]:
    """What the model itself generates, with everything computed anew for every question."""
    return [generated(nano, each) for each in requests]
