"""The tools as an MCP server, over stdio or streamable HTTP."""

from roi_agent.mcp.protocol import build_server
from roi_agent.mcp.running import run_http, run_stdio
from roi_agent.mcp.workspaces import Workspaces

__all__ = ["Workspaces", "build_server", "run_http", "run_stdio"]
