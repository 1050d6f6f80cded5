"""The tools as an MCP server, over stdio or streamable HTTP."""

from typing import TYPE_CHECKING, Any

from roi_agent.mcp.protocol import build_server
from roi_agent.mcp.running import run_stdio
from roi_agent.mcp.workspaces import Workspaces

if TYPE_CHECKING:
    from roi_agent.mcp.mounting import mount

__all__ = ["Workspaces", "build_server", "mount", "run_stdio"]


def __getattr__(name: str) -> Any:
    """Import the HTTP part only when it is used."""
    if name != "mount":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from roi_agent.mcp.mounting import mount

    return mount
