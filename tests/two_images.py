"""A workspace of two images, one wide and one tall."""

from PIL import Image

from roi_agent import Workspace

WIDE, TALL = Image.new("RGB", (200, 100), "red"), Image.new("RGB", (80, 120), "blue")


def workspace() -> Workspace:
    filled = Workspace()
    filled.add_image(WIDE)
    filled.add_image(TALL)
    return filled
