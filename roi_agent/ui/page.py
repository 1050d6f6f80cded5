"""The layout of the page: its components, and the functions that they call."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_image_annotation import image_annotator

from roi_agent.model.images.formats import EXTENSIONS
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.settings import ServerSettings
from roi_agent.ui import drawing, markup
from roi_agent.ui.actions import SCENES, Actions, PageState
from roi_agent.ui.disconnects import stream_while_here, while_here
from roi_agent.ui.visitors import COOKIE

Updates = dict[Any, Any]  # component -> its new value
_MODES = [("Ask the model", "model"), ("Run the agent", "agent")]
_HEAD = """# roi-agent
Point at things in a picture and ask."""
_EMPTY = """**Ask about regions.** Draw a box or find things by words, then ask *What is region1?*

Or run the agent: *What is left of the umbrella?*"""

_READY: Updates = {"submit_btn": "Ask", "stop_btn": False}
_RUNNING: Updates = {"submit_btn": False, "stop_btn": "Stop"}

_READ, _MARK = "(value) => { roi.read(value); }", "(marks) => roi.mark(marks)"
_HANDLE = "(file) => file && file.path"
_EDIT = "(value) => roi.edited(value)"
_REGIONS = "roi.follow(element, trigger);"


def build_page(actions: Actions, settings: ServerSettings, about: str = "") -> gr.Blocks:
    """Build the page.  about: a sentence about the models, shown below the title."""
    blocks = gr.Blocks(analytics_enabled=False, title="roi-agent", fill_width=True)
    with blocks:
        _Page(actions).build(blocks, about)
    blocks.queue(api_open=False, default_concurrency_limit=32, max_size=settings.max_requests)
    return blocks


class _Page:
    """The page's components, and a method for each event."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions

    def build(self, blocks: gr.Blocks, about: str) -> None:
        self.marks, self.sent = gr.JSON(visible="hidden"), gr.Textbox(visible="hidden")
        gr.Markdown(f"{_HEAD}\n\n{about}".strip(), elem_id="roi-head")
        with gr.Row():
            with gr.Column(scale=6, min_width=340):
                self._picture()
            with gr.Column(scale=5, min_width=340):
                self._chat()
        self._listen(blocks)

    def _picture(self) -> None:
        with gr.Accordion("Open a picture", open=True, elem_id="roi-open") as self.opening:
            self.upload = gr.File(
                label="Picture", show_label=False, file_types=list(EXTENSIONS), height=110, elem_id="roi-upload"
            )
            gr.Markdown("or try an example:", elem_id="roi-scenes-head")
            self.scenes = gr.Gallery(
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
            # As an argument of the constructor, they would be copied to Gradio's cache folder.
            self.scenes.value = [_example(path, number) for number, path in enumerate(SCENES, start=1)]
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
            self.chips = gr.HTML(js_on_load=_REGIONS, apply_default_css=False, elem_id="roi-regions")
            with gr.Accordion("Export", open=False):
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
            **_READY,
            max_length=2000,
            lines=1,
            max_lines=4,
            elem_id="roi-question",
        )
        self.afresh = gr.Button("New conversation", size="sm", variant="secondary", elem_id="roi-afresh")

    def _listen(self, blocks: gr.Blocks) -> None:
        everything = [self.opening, self.desk, self.marks, self.chips, self.files, self.chat, self.status, self.upload]
        everything += [self.question, self.words]
        shared: dict[str, Any] = {"api_visibility": "private"}

        def on(event: Any, act: Any, inputs: Any, *, progress: str = "hidden", **more: Any) -> Any:
            done = event(act, inputs, everything, show_progress=progress, **shared, **more)
            return done.then(None, [self.marks], [self.canvas, self.picture], js=_MARK, **shared)

        on(blocks.load, self._visit, [])
        # Uploads go through the gate, which returns a handle instead of a path: only the handle is sent to the server.
        sent = self.upload.upload(None, [self.upload], [self.sent], js=_HANDLE, **shared)
        on(sent.then, self._open_file, [self.sent], progress="minimal", concurrency_limit=2)  # large images need much memory
        on(self.scenes.select, self._open_scene, [], progress="minimal")
        on(self.words.submit, self._find, [self.words], progress="minimal")
        on(self.picture.select, self._point, [], progress="minimal")
        # One at a time: an answer that arrives late would show an outdated state.
        on(self.chips.input, self._apply, [], trigger_mode="multiple", concurrency_limit=1)
        asked = on(self.question.submit, self._talk, [self.question, self.mode], trigger_mode="multiple")
        asked.then(partial(gr.update, **_READY), None, [self.question], show_progress="hidden", **shared)
        on(self.question.stop, self._stop, [])
        on(self.afresh.click, self._restart, [])
        self.canvas.change(None, [self.canvas], None, js=_READ, **shared)
        self.chips.edit(None, [self.canvas], [self.canvas], js=_EDIT, trigger_mode="multiple", **shared)
        for tab in (self.draw_tab, self.point_tab):
            on(tab.select, self._look, [])
        self.mode.change(_hint, [self.mode], [self.question], show_progress="hidden", **shared)

    # Event handlers: Gradio passes the values of the inputs, and expects a value for each component that changes.

    def _visit(self, request: gr.Request) -> Updates:
        return self._shown(self.actions.visit(_visitor(request)))

    def _open_file(self, handle: str | None, request: gr.Request) -> Updates:
        return self._shown(self.actions.open_file(_visitor(request), handle)) | {self.upload: None}

    def _open_scene(self, request: gr.Request, chosen: gr.SelectData) -> Updates:
        number = chosen.index if isinstance(chosen.index, int) else 0
        return self._shown(self.actions.open_scene(_visitor(request), number))

    def _apply(self, request: gr.Request, event: gr.EventData) -> Updates:
        return self._shown(self.actions.apply(_visitor(request), event._data))

    async def _find(self, words: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        async for state in while_here(self.actions.find(_visitor(request), words or "")):
            yield self._shown(state) if state else {self.words: gr.skip()}

    async def _point(self, request: gr.Request, chosen: gr.SelectData) -> AsyncIterator[Updates]:
        x, y = chosen.index if isinstance(chosen.index, list) else (chosen.index, chosen.index)
        async for state in while_here(self.actions.point(_visitor(request), (x, y))):
            yield self._shown(state) if state else {self.words: gr.skip()}

    async def _talk(self, text: str | None, mode: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        begun: Updates = {self.question: gr.update(value="", **_RUNNING)}
        leaving = Cancellation()
        talk = self.actions.talk(_visitor(request), text or "", mode or "", leaving)
        async with aclosing(stream_while_here(talk, leaving)) as stream:
            async for state in stream:
                if state is None:
                    yield {self.words: gr.skip()}
                    continue
                yield (
                    self._shown(state) if state.work is None or not state.streaming else {self.chat: state.work.messages}
                ) | begun
                begun = {}

    def _stop(self, request: gr.Request) -> Updates:
        return self._shown(self.actions.stop(_visitor(request)))

    def _restart(self, request: gr.Request) -> Updates:
        return self._shown(self.actions.restart(_visitor(request)))

    def _look(self, request: gr.Request) -> Updates:
        return self._shown(self.actions.look(_visitor(request)))

    def _shown(self, state: PageState) -> Updates:
        """Return a value for each component that changes; the pictures are updated with the marks."""
        updates: Updates = {self.words: gr.skip()}  # Gradio requires at least one
        if state.status is not None:
            updates |= {self.status: gr.update(value=state.status, visible=bool(state.status))}
        work = state.work
        if work is None:
            return updates
        drafts = [region.name for region in work.drafted]
        updates |= {
            self.marks: drawing.marks(work),
            self.chips: markup.chips(work.regions, highlighted=work.highlighted, open_names=drafts),
            self.files: markup.files(work.files, trace=work.trace is not None),
            self.chat: work.messages,
        }
        if state.opened:
            updates |= {self.opening: gr.update(open=False), self.desk: gr.update(visible=True)}
        return updates


def inputs_of(blocks: gr.Blocks) -> dict[int, int]:
    """Return the number of inputs of each Python function of the page, by its number."""
    return {number: len(each.inputs) for number, each in blocks.fns.items() if each.fn is not None}


def _visitor(request: gr.Request) -> str | None:
    """Return the name in the cookie, which the gate has checked."""
    name = request.cookies.get(COOKIE)
    return name if isinstance(name, str) else None


def _example(path: Path, number: int) -> dict[str, Any]:
    """Return a picture that the gate serves, in the gallery's form."""
    image = {"path": path.name, "url": f"/gradio_api/file={path.name}", "meta": {"_type": "gradio.FileData"}}
    return {"image": image, "caption": f"Scene {number}"}


def _hint(mode: str) -> Any:
    return gr.update(placeholder="What is left of the umbrella?" if mode == "agent" else "What is region1?")
