"""The actions of visitors on the page, without its layout: each changes a visitor's work and returns the new state."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from langchain_core.language_models import BaseChatModel

from roi_agent.agent.agent import Agent
from roi_agent.agent.planners import supports_images
from roi_agent.agent.result import Budget
from roi_agent.lanes import Job
from roi_agent.model.errors import InvalidSetting, RoiAgentError
from roi_agent.model.images.loading import load_image
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import InTurn
from roi_agent.ui import chat, drawing, finding, markup
from roi_agent.ui.downloads import FOLDER
from roi_agent.ui.visitors import Visitors, is_name, new_name
from roi_agent.ui.work import Work

T = TypeVar("T")
SCENES = tuple(Path(__file__).parent / "scenes" / f"scene{number}.png" for number in (1, 2, 3))


class Lane(Protocol):
    """Runs a job in its turn.  Errors: QueueFull, DeadlineExceeded."""

    def __call__(self, job: Job[T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class PageState:
    """The state of the page after an action.

    visitor: the name stored in the browser.  work: None if no image is open.
    status: HTML of the line above the picture; None leaves it unchanged.
    opened: whether the page shows another picture than before.
    streaming: whether only the chat has changed, and more will follow.
    """

    visitor: str
    work: Work | None = None
    status: str | None = None
    opened: bool = False
    streaming: bool = False


class Actions:
    """The actions of all visitors.

    models, planner: of the server, shared by all visitors.  lane: runs blocking work of detector and segmenter in its turn.
    in_turn: the same for the agent's tools.
    files: path of visitors' files for browsers.  max_pixels: of an image, as in `load_image`.
    The first argument of every action is the visitor's name as sent by the browser; errors are reported in `PageState.status`.
    """

    def __init__(
        self,
        visitors: Visitors,
        models: Models,
        planner: BaseChatModel,
        lane: Lane,
        *,
        files: str = FOLDER,
        in_turn: InTurn | None = None,
        max_pixels: int | None = None,
    ) -> None:
        self._files, self._tools_in_turn, self._max_pixels = files, in_turn, max_pixels
        self._visitors, self._models, self._planner, self._lane = visitors, models, planner, lane

    def visit(self, name: object) -> PageState:
        """Start or resume a visit."""
        state = self.look(name)
        return replace(state, opened=state.work is not None)

    def look(self, name: object) -> PageState:
        """Return the current state.  A name that the server did not issue is replaced."""
        return PageState(str(name) if is_name(name) else new_name(), self._visitors.find(name))

    def open_file(self, name: object, handle: object) -> PageState:
        """Open an image that the visitor uploaded.  handle: returned by `Visitors.send`."""
        state = self.look(name)
        try:
            return self._open(state, self._visitors.take(name, handle))
        except RoiAgentError as error:
            return replace(state, status=markup.status(error=error))

    def open_scene(self, name: object, number: int) -> PageState:
        """Open an example.  number: from 0."""
        state = self.look(name)
        try:
            return self._open(state, SCENES[number % len(SCENES)])
        except RoiAgentError as error:
            return replace(state, status=markup.status(error=error))

    def apply(self, name: object, news: object) -> PageState:
        """Apply a change of regions in the browser.

        news: {"kind": "draw", "boxes": [...]} as for `drawing.edit`, with the "page" on which they were drawn and its increasing
            "number"; or "delete", "highlight" or "label" with the "name" of a region, and for the last a "label".
            "work" is the key of the image's work: changes of an earlier image are ignored.
        """
        state = self.look(name)
        if state.work is None or not isinstance(news, Mapping) or news.get("work") != state.work.key:
            return state
        kind, handle = news.get("kind"), str(news.get("name", ""))
        try:
            if kind == "draw":
                with state.work.lock:  # so that number and boxes change together for other pages
                    state.work.acknowledge(str(news.get("page")), news.get("number"))
                    drawing.edit(state.work, news.get("boxes"))
            elif kind == "delete":
                drawing.delete(state.work, handle)
            elif kind == "label":
                drawing.rename(state.work, handle, str(news.get("label", "")))
            elif kind == "highlight":
                drawing.highlight(state.work, handle)
            else:
                raise InvalidSetting(f"the page sent the unknown change {escaped(kind)}", do="reload the page")
        except RoiAgentError as error:
            return replace(state, status=markup.status(error=error))
        return state

    async def find(self, name: object, words: str) -> PageState:
        """Find regions by phrases; cancelling the task ends the work."""
        return await self._in_turn(name, "detect", lambda work, stop: finding.find(work, words, self._models, stop))

    async def point(self, name: object, at: tuple[float, float]) -> PageState:
        """Segment the object at a point; cancelling as for `find`.  at: x, y in pixels of `drawing.drawn`."""
        return await self._in_turn(name, "segment", lambda work, stop: finding.point(work, at, self._models, stop))

    def talk(self, name: object, text: str, mode: str, leaving: Cancellation | None = None) -> Generator[PageState, None, None]:
        """Ask the region model, or with the mode "agent" run the agent; yields whenever the chat has grown.

        leaving: ends the work when the visitor leaves.
        It ends silently when the visitor opens another image.
        """
        state = self.look(name)
        try:
            work = self._visitors.for_writing(name)
        except RoiAgentError as error:
            yield replace(state, status=markup.status(error=error))
            return
        stop = leaving or Cancellation()
        steps = chat.run_agent(work, text, stop) if mode == "agent" else chat.ask(work, text, self._models, stop)
        for _ in steps:
            if self._visitors.find(name) not in (work, None):
                return
            yield replace(state, work=work, streaming=True)
        yield replace(state, work=work)

    def stop(self, name: object) -> PageState:
        """Stop what the visitor is waiting for; intermediate results remain."""
        state = self.look(name)
        if state.work is not None:
            state.work.stop()
        return state

    def restart(self, name: object) -> PageState:
        """Start a new conversation; image and regions remain."""
        state = self.look(name)
        if state.work is not None:
            state.work.restart()
        return state

    def _open(self, state: PageState, source: object) -> PageState:
        """Open an image.  Errors: PageFull, and those of `load_image`; the earlier work is then kept."""
        loaded = load_image(source, max_pixels=self._max_pixels, web=False)
        work = Work(loaded, self._agent(), f"{self._files}/{state.visitor}")
        self._visitors.put(state.visitor, work)
        return replace(state, work=work, status=markup.status("; ".join(loaded.notes)), opened=True)

    def _agent(self) -> Agent:
        """Return an agent for one image's work, with a conversation of its own."""
        return Agent(
            self._planner,
            self._models,
            budget=Budget(),
            pictures=supports_images(self._planner),
            second_look=True,
            verify=True,
            without=(),
            approve=(),
            price=None,
            folder=None,
            in_turn=self._tools_in_turn,
        )

    async def _in_turn(self, name: object, kind: str, act: Callable[[Work, Cancellation], str]) -> PageState:
        state = self.look(name)
        try:
            work = self._visitors.for_writing(name)
            status = await self._lane(Job(kind, lambda stop: act(work, stop)))
        except Exception as error:
            return replace(state, status=markup.status(error=chat.as_coded_error(error)))
        if (now := self._visitors.find(name)) not in (work, None):
            return replace(state, work=now)
        return replace(state, work=work, status=markup.status(status))
