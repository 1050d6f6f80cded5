"""Models, and clients in the process of the test."""

import pytest
from mcp.client.client import Client

from roi_agent import Workspace, __version__
from roi_agent.loading import load_models
from roi_agent.mcp import Workspaces, build_server
from roi_agent.tools.models import Models


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture
def client(models: Models) -> Client:
    """Over the only workspace, as stdio serves it; each test opens it in its own task."""
    return Client(build_server(Workspaces(models, only=Workspace()), version=__version__))


@pytest.fixture
def apart(models: Models) -> Client:
    """Over workspaces by name, as HTTP serves them."""
    return Client(build_server(Workspaces(models, folders=[]), version=__version__))
