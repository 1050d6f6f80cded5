"""What the tests of the page without a browser share: visitors, their work, and what they can do."""

import pytest

from roi_agent.agent.planners import load_planner
from roi_agent.loading import load_models
from roi_agent.tools.models import Models
from roi_agent.ui.actions import Actions
from roi_agent.ui.visitors import Visitors
from roi_agent.ui.work import Work
from tests.ui.visit import at_once, opened


@pytest.fixture(scope="session")
def models() -> Models:
    """Loaded once for all files here."""
    return load_models()


@pytest.fixture
def visitors() -> Visitors:
    return Visitors(max_visitors=10, visitor_bytes=1 << 30, total_bytes=1 << 30, idle_s=60, keep_s=60)


@pytest.fixture
def actions(models: Models, visitors: Visitors) -> Actions:
    return Actions(visitors, models, load_planner("offline"), at_once)


@pytest.fixture
def work(actions: Actions) -> Work:
    return opened(actions)
