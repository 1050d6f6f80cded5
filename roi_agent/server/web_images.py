"""Images by web address; see `roi_agent.web_images`."""

from roi_agent.web_images import WebImages

__all__ = ["WebImages"]
