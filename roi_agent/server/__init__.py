"""The HTTP server: OpenAI's chat completions with regions, batched questions, detection and segmentation."""

from roi_agent.server.app import build_app
from roi_agent.server.running import listen, serve

__all__ = ["build_app", "listen", "serve"]
