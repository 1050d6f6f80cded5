"""Mounting of the page in the server: its routes and its theme."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
import gradio.routes
from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from langchain_core.language_models import BaseChatModel
from starlette.routing import Mount

from roi_agent.loading import introduction
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import InTurn
from roi_agent.ui.actions import SCENES, Actions, Lane
from roi_agent.ui.downloads import FOLDER, add_downloads
from roi_agent.ui.gate import PATH, PageGate
from roi_agent.ui.page import build_page, inputs_of
from roi_agent.ui.visitors import Visitors

_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # local fonts: nothing is downloaded
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect x="2" y="3" width="12" height="10" fill="none" '
    'stroke="#3b82f6" stroke-width="2"/></svg>'
)


def mount(
    app: FastAPI,
    models: Models,
    settings: ServerSettings,
    planner: BaseChatModel,
    lane: Lane,
    in_turn: InTurn | None = None,
) -> None:
    """Mount the page at /ui of the server.

    models: those of the server.  planner: of the agent.  lane: runs blocking work of detector and segmenter in its turn.
    in_turn: the same for the agent's tools.
    """
    vars(gradio.routes)["print"] = _print
    visitors = Visitors(
        max_visitors=settings.visitors,
        visitor_bytes=settings.visitor_bytes,
        total_bytes=settings.page_bytes,
        idle_s=settings.visitor_idle_s,
        keep_s=settings.visitor_s,
    )
    add_downloads(app, visitors)

    @app.get("/", include_in_schema=False)
    @app.get(PATH, include_in_schema=False)
    async def to_page() -> RedirectResponse:
        return RedirectResponse(f"{settings.public_path}{PATH}/")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(_ICON, media_type="image/svg+xml")

    files = settings.public_path + FOLDER

    async def build() -> None:
        max_pixels = settings.max_image_pixels
        actions = Actions(visitors, models, planner, lane, files=files, in_turn=in_turn, max_pixels=max_pixels)
        _mount(app, build_page(actions, settings, introduction(models)), visitors, settings)

    # Gradio would create a folder for its (disabled) editor in a place shared by all users of the machine.
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        vars(gradio.routes)["DEFAULT_TEMP_DIR"] = folder
        # In an event loop, because outside of one Gradio creates loops that are never closed; and in a loop of its own.
        thread.submit(asyncio.run, build()).result()


def _mount(app: FastAPI, blocks: gr.Blocks, visitors: Visitors, settings: ServerSettings) -> None:
    folder = resources.files(__package__)
    css, *scripts = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "boxes.js", "page.js"))
    max_file_bytes = max(1, settings.max_body_bytes - 65536)  # minus the overhead of a form
    # Windows whose state Gradio keeps; a forgotten window is treated as a new one.
    blocks.state_session_capacity = max_sessions = 100 + 4 * settings.visitors
    gr.mount_gradio_app(
        app,
        blocks,
        path=PATH,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        max_file_size=max_file_bytes,
        theme=_theme(),
        css=css,
        head="".join(f"<script>{script}</script>" for script in scripts),
    )
    (mounted,) = [route for route in app.routes if isinstance(route, Mount) and route.path == PATH]
    mounted.app = PageGate(
        mounted.app,
        visitors,
        inputs=inputs_of(blocks),
        examples={path.name: path for path in SCENES},
        max_file_bytes=max_file_bytes,
        max_sessions=max_sessions,
        root=settings.public_path + PATH,
        secure=settings.public_tls,
        cookie_s=settings.visitor_s,
    )


def _theme() -> gr.themes.Base:
    theme = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=_FONT, font_mono=["ui-monospace", "monospace"])
    return theme.set(
        background_fill_primary="*neutral_50",  # the theme's own value, which `set` would replace by white
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_700",
    )


def _print(*values: object, **options: Any) -> None:
    """Print for Gradio's routes, without a line for each file of a component that a browser fetches."""
    if not str(*values[:1]).startswith("id="):
        print(*values, **options)
