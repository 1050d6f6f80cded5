"""What every test shares: no network, and benchmarks marked by their folder."""

import os
from pathlib import Path

import pytest

# Read by huggingface_hub and matplotlib when they are imported, which happens later.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if BENCHMARKS in item.path.parents:
            item.add_marker("benchmark")
