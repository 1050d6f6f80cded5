"""An image that a server holds."""

import pytest

from tests.server.clients import SCENE, send
from tests.serving import Serving


@pytest.fixture(scope="module")
def handle(served: Serving) -> str:
    url: str = send(served, "/v1/images", SCENE.read_bytes(), kind="image/png")["url"]
    return url
