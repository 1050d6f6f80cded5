"""The shared state of all routes of a server."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from roi_agent.lanes import Lanes
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.server.images import ImageStore
from roi_agent.server.metrics import Metrics
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models


@dataclass(frozen=True, slots=True)
class State:
    """name, model: of the region model.  models: detector and segmenter.  lanes: in which those run."""

    name: str
    model: RegionModel
    models: Models
    settings: ServerSettings
    images: ImageStore
    metrics: Metrics
    lanes: Lanes


def state_of(request: Request) -> State:
    """Return the state of the request's server."""
    state: Any = request.app.state.roi
    assert isinstance(state, State)
    return state
