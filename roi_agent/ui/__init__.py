"""The web page, at `/ui` of the server: draw, find, point and ask in a browser.

Its parts: each visitor's work (`visitors`, `work`), the actions (`actions`, `drawing`, `finding`, `chat`), files to download
(`downloads`), and the layout (`page` and `disconnects`, with `markup`, page.css, boxes.js and page.js). `mounting` adds it to the
server, behind a gate (`gate`, with `payload` and `uploads`) that reads everything a browser sends before Gradio sees it.
"""

from roi_agent.ui.mounting import mount

__all__ = ["mount"]
