"""Files of a visitor's work, created on request: regions, picture, trace."""

import io
import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from PIL import Image

from roi_agent.model.errors import UnknownImage
from roi_agent.tools.drawing import draw_regions
from roi_agent.tools.exchange import to_coco
from roi_agent.tools.workspace import Workspace
from roi_agent.trace import Trace
from roi_agent.ui.drawing import CANVAS, DRAWN, drawn, picture
from roi_agent.ui.visitors import Visitors
from roi_agent.ui.work import Work

FOLDER = "/ui/files"


def add_downloads(app: FastAPI, visitors: Visitors) -> None:
    """Add the route; it must be added before the page is mounted."""

    @app.get(FOLDER + "/{visitor}/{name}", include_in_schema=False)
    def download(visitor: str, name: str) -> Response:
        work = visitors.get(visitor)
        if name in work.pictures:
            return Response(work.pictures[name], media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})
        if name in _PICTURES:
            content = _webp(_PICTURES[name](work))
            return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})
        if name not in _FILES:
            raise UnknownImage(f"there is no file {name[:40]!r}", do=f"use one of {', '.join(_FILES)}")
        kind, made = _FILES[name]
        head = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return Response(made(work), media_type=kind, headers=head)


def regions_json(work: Work) -> str:
    """Return the regions on the page as a COCO instances document."""
    return json.dumps(to_coco(Workspace.of([work.image], work.regions)), indent=1, ensure_ascii=False)


def picture_png(work: Work) -> bytes:
    """Return the image with the regions on the page."""
    file = io.BytesIO()
    draw_regions(work.image.pixels, work.regions).save(file, "PNG")
    return file.getvalue()


def trace_html(work: Work) -> str:
    """Return the agent's last run as a page."""
    return _trace(work).to_html()


def trace_json(work: Work) -> str:
    """Return the agent's last run as JSON."""
    return json.dumps(_trace(work).to_dict(), indent=1, ensure_ascii=False, default=str)


def _webp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=90)
    return file.getvalue()


def _trace(work: Work) -> Trace:
    if work.trace is None:
        raise UnknownImage("there is no trace", do="run the agent first")
    return work.trace


_PICTURES = {CANVAS: picture, DRAWN: drawn}
_FILES: dict[str, tuple[str, Callable[[Work], Any]]] = {
    "picture.png": ("image/png", picture_png),
    "regions.json": ("application/json", regions_json),
    "trace.html": ("text/html; charset=utf-8", trace_html),
    "trace.json": ("application/json", trace_json),
}
