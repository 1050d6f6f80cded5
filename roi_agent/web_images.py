"""An image by its web address, with hosts of the caller's own network."""

from collections.abc import Iterable
from dataclasses import replace

from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.images.web import fetch


def fetch_image(address: str, *, hosts: Iterable[str] | None = None, max_pixels: int | None = None) -> LoadedImage:
    """The image at a web address, as `load_image` fetches it.

    hosts: that may lie in a network of the user's own, in place of those of ROI_AGENT_IMAGE_HOSTS.
    Errors: those of `fetch` and of `load_image`.
    """
    return replace(load_image(fetch(address, hosts=hosts), max_pixels=max_pixels), source="web address")
