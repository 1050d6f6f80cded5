"""What every test shares: no network, benchmarks marked by their folder, and a small release of published weights."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.chat_server import ChatServer
    from tests.commands import Runner
    from tests.published import Release
    from tests.serving import Serving

# Read by huggingface_hub, datasets and matplotlib when they are imported, which happens later.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"
_tables = tempfile.TemporaryDirectory()  # tables of records, which would stay in the user's own cache
os.environ["HF_DATASETS_CACHE"] = _tables.name

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if BENCHMARKS in item.path.parents:
            item.add_marker("benchmark")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lines that something takes long, which would come or not by how busy this machine is."""
    from roi_agent.model.utils import progress

    monkeypatch.setattr(progress, "FIRST_S", 3600.0)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> "Release":
    from tests.published import Release

    return Release.make(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def server() -> "Iterator[ChatServer]":
    """A server that speaks OpenAI's chat API, in a process of its own."""
    from tests.chat_server import chat_server

    with chat_server() as running:
        yield running


@pytest.fixture(scope="session")
def served() -> "Iterator[Serving]":
    """`roi-agent serve` in a process of its own, for whoever asks it and leaves it as it was."""
    from tests.serving import serving

    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def served_with_page() -> "Iterator[Serving]":
    """As `served`, with the page for people."""
    from tests.serving import serving

    with serving("--ui") as running:
        yield running


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Runner":
    from tests.commands import runner

    return runner(monkeypatch, capsys)


@pytest.fixture
def heard() -> Iterator[None]:
    """Processes started here hear Ctrl-C, also where the tests run in the background of a shell, which makes them deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
