"""Point at things in an image and ask, yourself or through an agent.

Names are imported on first use, so that `import roi_agent` is fast and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roi_agent.agent.agent import build_agent
    from roi_agent.loading import build_toolbox, load_detector, load_region_model, load_segmenter
    from roi_agent.model.geometry.regions import Box, Region
    from roi_agent.tools.workspace import Workspace

    __version__: str

__all__ = [
    "Box",
    "Region",
    "Workspace",
    "__version__",
    "build_agent",
    "build_toolbox",
    "load_detector",
    "load_region_model",
    "load_segmenter",
]

_HOMES = {
    "Box": "roi_agent.model.geometry.regions",
    "Region": "roi_agent.model.geometry.regions",
    "Workspace": "roi_agent.tools.workspace",
    "build_agent": "roi_agent.agent.agent",
    "build_toolbox": "roi_agent.loading",
    "load_detector": "roi_agent.loading",
    "load_region_model": "roi_agent.loading",
    "load_segmenter": "roi_agent.loading",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the installed version; 0+unknown in a source tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("roi-agent")
    except PackageNotFoundError:
        return "0+unknown"
