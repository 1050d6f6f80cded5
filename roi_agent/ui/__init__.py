"""The web page, at `/ui` of the server: draw, find, point and ask in a browser.

It is a thin layer: each visitor's workspace (`visitors`, `work`), what is done there (`drawing`, `finding`, `chat`), files to
take away (`downloads`), and the layout (`page` and `disconnects`, with `markup`, page.css, boxes.js and page.js), which `mounting` puts into the
server behind a gate (`gate`, with `payload` and `uploads`): what a browser sends is read there before Gradio sees it.
"""

from roi_agent.ui.mounting import mount

__all__ = ["mount"]
