"""The layout: which component stands where, and which function each of them calls."""

import asyncio
import atexit
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import resources
from tempfile import mkdtemp
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from gradio_image_annotation import image_annotator
from langchain_core.language_models import BaseChatModel
from starlette.routing import Mount

from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.ui import drawing, markup
from roi_agent.ui.actions import SCENES, Actions, Lane, Seen
from roi_agent.ui.downloads import add_downloads
from roi_agent.ui.visitors import Visitors

PATH = "/ui"
Updates = dict[Any, Any]  # component -> its new value
_ENDINGS = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"]
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]  # the browser's own: nothing is fetched
_MODES = [("Ask the model", "model"), ("Let the agent work", "agent")]
_HEAD = """# roi-agent
Point at things in a picture and ask."""
_EMPTY = """**Ask about regions.** Draw a box or find things by words, then ask *What is region1?*  
Or let the agent work: *What is left of the umbrella?*"""

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect x="2" y="3" width="12" height="10" fill="none" '
    'stroke="#3b82f6" stroke-width="2"/></svg>'
)
_READ, _MARK = "(value) => { roi.read(value); }", "(value, marks) => roi.mark(value, marks)"
_CHIPS = """
roi.send = (news) => trigger('input', news);
const tell = (kind, more) => roi.marks && roi.send({ kind, work: roi.marks.work, ...more });
element.addEventListener('click', (event) => {
  const { region, delete: gone } = event.target.dataset;
  if (region) tell('light', { name: region });
  if (gone) tell('delete', { name: gone });
});
element.addEventListener('change', (event) => {
  const name = event.target.dataset.label;
  if (name) { event.stopPropagation(); tell('label', { name, label: event.target.value }); }
});
element.addEventListener('input', (event) => event.stopPropagation());
"""


def mount(app: FastAPI, models: Models, settings: ServerSettings, planner: BaseChatModel, lane: Lane) -> None:
    """Put the page at /ui of the server.

    models: those of the server.  planner: of the agent.  lane: runs blocking work of detector and segmenter in its turn.
    """
    _own_folder()
    visitors = Visitors(most=settings.visitors, keep_s=settings.visitor_s, image_bytes=settings.image_bytes)
    add_downloads(app, visitors)

    @app.get("/", include_in_schema=False)
    async def to_page() -> RedirectResponse:
        return RedirectResponse(f"{PATH}/")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(_ICON, media_type="image/svg+xml")

    async def build() -> None:
        _mount(app, build_page(Actions(visitors, models, planner, lane), settings), settings)

    asyncio.run(build())  # outside of a loop, Gradio makes some that nobody closes


def _mount(app: FastAPI, blocks: gr.Blocks, settings: ServerSettings) -> None:
    texts = resources.files(__package__)
    gr.mount_gradio_app(
        app,
        blocks,
        path=PATH,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        max_file_size=max(1, settings.max_body_bytes - 65536),  # room for what a form adds
        theme=_theme(),
        css=texts.joinpath("page.css").read_text(encoding="utf-8"),
        head=f"<script>{texts.joinpath('page.js').read_text(encoding='utf-8')}</script>",
    )
    page: Any
    (page,) = [route.app for route in app.routes if isinstance(route, Mount) and route.path == PATH]
    # An open page holds a connection, for which a server that stops would wait.
    app.state.stopping = [page.stop_event.set]


def _theme() -> gr.themes.Base:
    theme = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=_FONT, font_mono=["ui-monospace", "monospace"])
    return theme.set(body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400")


def build_page(actions: Actions, settings: ServerSettings) -> gr.Blocks:
    """The components and what they call."""
    kept_s = round(settings.visitor_s)
    blocks = gr.Blocks(analytics_enabled=False, title="roi-agent", fill_width=True, delete_cache=(600, max(600, kept_s)))
    with blocks:
        _Page(actions).build(blocks)
    blocks.queue(api_open=False, default_concurrency_limit=32, max_size=settings.max_requests)
    return blocks


class _Page:
    """The components by name; a method for each event."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions

    def build(self, blocks: gr.Blocks) -> None:
        self.visitor = gr.BrowserState(None, storage_key="roi-agent")
        self.tab, self.marks = gr.State("draw"), gr.JSON(visible="hidden")
        gr.Markdown(_HEAD, elem_id="roi-head")
        with gr.Row():
            with gr.Column(scale=6, min_width=340):
                self._picture()
            with gr.Column(scale=5, min_width=340):
                self._chat()
        self._listen(blocks)

    def _picture(self) -> None:
        with gr.Accordion("Open a picture", open=True, elem_id="roi-open") as self.opening:
            self.upload = gr.File(label="Picture", show_label=False, file_types=_ENDINGS, height=110, elem_id="roi-upload")
            gr.Markdown("or try an example:", elem_id="roi-scenes-head")
            self.scenes = gr.Gallery(
                value=[(str(path), f"Scene {number}") for number, path in enumerate(SCENES, start=1)],
                label="Example scenes",
                show_label=False,
                columns=3,
                rows=1,
                height=215,
                allow_preview=False,
                object_fit="contain",
                buttons=[],
                interactive=False,
                elem_id="roi-scenes",
            )
        self.status = gr.HTML(visible=False, apply_default_css=False, elem_id="roi-status")
        with gr.Column(visible=False) as self.desk:
            with gr.Tabs(elem_id="roi-tabs"):
                with gr.Tab("Draw boxes", id="draw") as self.draw_tab:
                    self.canvas = image_annotator(
                        sources=[],
                        image_type="filepath",
                        show_label=False,
                        show_download_button=False,
                        show_clear_button=False,
                        disable_edit_boxes=True,
                        show_remove_button=True,
                        boxes_alpha=0.08,
                        box_min_size=4,
                        box_thickness=3,
                        box_selected_thickness=5,
                        elem_id="roi-picture",
                    )
                with gr.Tab("Point at things", id="point") as self.point_tab:
                    self.picture = gr.Image(interactive=False, show_label=False, buttons=[], format="webp", elem_id="roi-point")
            self.words = gr.Textbox(
                label="Find by words",
                show_label=False,
                placeholder="Find by words: orange umbrella . yellow square",
                submit_btn="Find",
                max_length=500,
                elem_id="roi-words",
            )
            self.chips = gr.HTML(js_on_load=_CHIPS, apply_default_css=False, elem_id="roi-regions")
            with gr.Accordion("Take away", open=False):
                self.files = gr.HTML(apply_default_css=False, elem_id="roi-files")

    def _chat(self) -> None:
        self.mode = gr.Radio(_MODES, value="model", label="Who answers", show_label=False, container=False, elem_id="roi-mode")
        self.chat = gr.Chatbot(
            show_label=False,
            height="62vh",
            min_height=260,
            placeholder=_EMPTY,
            buttons=[],
            feedback_options=None,
            group_consecutive_messages=True,
            latex_delimiters=[],
            elem_id="roi-chat",
        )
        self.question = gr.Textbox(
            show_label=False,
            label="Question",
            placeholder="What is region1?",
            submit_btn="Ask",
            max_length=2000,
            lines=1,
            max_lines=4,
            elem_id="roi-question",
        )
        self.afresh = gr.Button("New conversation", size="sm", variant="secondary", elem_id="roi-afresh")

    def _listen(self, blocks: gr.Blocks) -> None:
        everything = [self.visitor, self.opening, self.desk, self.canvas, self.picture, self.marks, self.chips]
        everything += [self.files, self.chat, self.status, self.upload, self.question, self.words]
        shared: dict[str, Any] = {"api_visibility": "private"}

        def on(event: Any, act: Any, inputs: Any, *, progress: str = "hidden", **more: Any) -> None:
            told = event(act, inputs, everything, show_progress=progress, **shared, **more)
            told.then(None, [self.canvas, self.marks], [self.canvas], js=_MARK, **shared)

        known = [self.visitor, self.tab]
        on(blocks.load, self._visit, known)
        on(self.upload.upload, self._open_file, [*known, self.upload], progress="minimal")
        on(self.scenes.select, self._open_scene, known, progress="minimal")
        on(self.words.submit, self._find, [*known, self.words], progress="minimal")
        on(self.picture.select, self._point, [*known, self.picture], progress="minimal")
        on(self.chips.input, self._hear, known, trigger_mode="multiple")
        on(self.question.submit, self._talk, [*known, self.question, self.mode], trigger_mode="multiple")
        on(self.afresh.click, self._restart, known)
        self.canvas.change(None, [self.canvas], None, js=_READ, **shared)
        for tab, name in ((self.draw_tab, "draw"), (self.point_tab, "point")):
            on(tab.select, partial(self._turn_to, name), [self.visitor])
            tab.select(partial(str, name), None, [self.tab], show_progress="hidden", **shared)
        self.mode.change(_hint, [self.mode], [self.question], show_progress="hidden", **shared)

    # What the events call: gradio hands over the values of the inputs, and takes a value for each component that changes.

    def _visit(self, visitor: Any, tab: str) -> Updates:
        return self._shown(self.actions.visit(visitor), tab)

    def _open_file(self, visitor: Any, tab: str, path: str | None) -> Updates:
        return self._shown(self.actions.open_file(visitor, path), tab) | {self.upload: None}

    def _open_scene(self, visitor: Any, tab: str, chosen: gr.SelectData) -> Updates:
        return self._shown(self.actions.open_scene(visitor, int(chosen.index)), tab)

    def _hear(self, visitor: Any, tab: str, event: gr.EventData) -> Updates:
        return self._shown(self.actions.hear(visitor, event._data), tab)

    async def _find(self, visitor: Any, tab: str, words: str) -> Updates:
        return self._shown(await self.actions.find(visitor, words), tab)

    async def _point(self, visitor: Any, tab: str, picture: Any, chosen: gr.SelectData) -> Updates:
        x, y = chosen.index
        height, width = picture.shape[:2]
        return self._shown(await self.actions.point(visitor, (x / width, y / height)), tab)

    def _talk(self, visitor: Any, tab: str, text: str, mode: str) -> Iterator[Updates]:
        empty = {self.question: ""}
        for seen in self.actions.talk(visitor, text, mode):
            yield (self._shown(seen, tab) if seen.work is None or not seen.talking else {self.chat: seen.work.messages}) | empty
            empty = {}

    def _restart(self, visitor: Any, tab: str) -> Updates:
        return self._shown(self.actions.restart(visitor), tab)

    def _turn_to(self, tab: str, visitor: Any) -> Updates:
        return self._shown(replace(self.actions.visit(visitor), boxes=True), tab)

    def _shown(self, seen: Seen, tab: str) -> Updates:
        """A value for each component that changes."""
        updates: Updates = {self.visitor: seen.visitor}
        if seen.status is not None:
            updates |= {self.status: gr.update(value=seen.status, visible=bool(seen.status))}
        work = seen.work
        if work is None:
            return updates
        drafts = [region.name for region in work.drafted]
        updates |= {
            self.marks: drawing.marks(work),
            self.chips: markup.chips(work.regions, lit=work.lit, open_names=drafts),
            self.files: markup.files(work.files, trace=work.trace is not None),
            self.chat: work.messages,
        }
        if seen.boxes:
            updates |= {self.opening: gr.update(open=False), self.desk: gr.update(visible=True)}
            updates |= {self.canvas: {"image": drawing.picture(work), "boxes": drawing.boxes(work)}}
        if tab == "point":
            updates |= {self.picture: drawing.drawn(work)}
        return updates


def _hint(mode: str) -> Any:
    return gr.update(placeholder="What is left of the umbrella?" if mode == "agent" else "What is region1?")


def _own_folder() -> None:
    """Gradio keeps files that are sent in a folder that all users of a machine would share; ours goes when the server does."""
    if "GRADIO_TEMP_DIR" not in os.environ:
        os.environ["GRADIO_TEMP_DIR"] = mkdtemp(prefix="roi-agent-page-")
        atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)
