"""What visitors do on the page, without its layout: each action changes a visitor's work and says what is to be seen then."""

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
from roi_agent.ui import drawing, finding, markup, talking
from roi_agent.ui.downloads import FOLDER
from roi_agent.ui.visitors import Visitors, is_name, new_name
from roi_agent.ui.work import Work

T = TypeVar("T")
SCENES = tuple(Path(__file__).parent / "scenes" / f"scene{number}.png" for number in (1, 2, 3))


class Lane(Protocol):
    """Does a job when its turn comes.  Errors: QueueFull, DeadlineExceeded."""

    def __call__(self, job: Job[T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What the page shows after an action.

    visitor: the name that the browser keeps.  work: None where no image is open.
    status: HTML of the line above the picture; None leaves it as it is.
    opened: whether the page has another picture than before, or none yet.
    talking: whether only the chat has changed, and goes on changing.
    """

    visitor: str
    work: Work | None = None
    status: str | None = None
    opened: bool = False
    talking: bool = False


class Actions:
    """The actions of all visitors.

    models, planner: of the server, shared by everybody.  lane: runs blocking work of detector and segmenter in its turn.
    in_turn: the same for the agent's tools.
    files: path of visitors' files as browsers know it.  max_pixels: of an image, as `load_image` has it.
    Every action takes the visitor's name first, as the browser gave it; what goes wrong is told in `Seen.status`.
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

    def visit(self, name: object) -> Seen:
        """Come, or come back."""
        seen = self.look(name)
        return replace(seen, opened=seen.work is not None)

    def look(self, name: object) -> Seen:
        """The visitor's work as it is.  A name that we did not give is not kept."""
        return Seen(str(name) if is_name(name) else new_name(), self._visitors.find(name))

    def open_file(self, name: object, handle: object) -> Seen:
        """Begin to work on an image that the visitor sent.  handle: that `Visitors.send` gave it."""
        seen = self.look(name)
        try:
            return self._open(seen, self._visitors.take(name, handle))
        except RoiAgentError as error:
            return replace(seen, status=markup.status(error=error))

    def open_scene(self, name: object, number: int) -> Seen:
        """Begin to work on an example.  number: from 0."""
        seen = self.look(name)
        try:
            return self._open(seen, SCENES[number % len(SCENES)])
        except RoiAgentError as error:
            return replace(seen, status=markup.status(error=error))

    def hear(self, name: object, news: object) -> Seen:
        """Take over what happened to regions in the browser.

        news: {"kind": "draw", "boxes": [...]} as `drawing.edit` takes them, with the "page" that they were drawn on and a
            "number" that grows there; or "delete", "light" or "label" with the "name" of a region and perhaps a "label".
            "work" is the key of the image's work: news of an earlier image is let go.
        """
        seen = self.look(name)
        if seen.work is None or not isinstance(news, Mapping) or news.get("work") != seen.work.key:
            return seen
        kind, handle = news.get("kind"), str(news.get("name", ""))
        try:
            if kind == "draw":
                with seen.work.lock:  # whoever tells another page of the boxes says rightly what they hold
                    seen.work.hear(str(news.get("page")), news.get("number"))
                    drawing.edit(seen.work, news.get("boxes"))
            elif kind == "delete":
                drawing.delete(seen.work, handle)
            elif kind == "label":
                drawing.rename(seen.work, handle, str(news.get("label", "")))
            elif kind == "light":
                drawing.light(seen.work, handle)
            else:
                raise InvalidSetting(f"the page says {escaped(kind)}", do="load the page again")
        except RoiAgentError as error:
            return replace(seen, status=markup.status(error=error))
        return seen

    async def find(self, name: object, words: str) -> Seen:
        """Find regions by words; a task that is cancelled ends the work."""
        return await self._in_turn(name, "detect", lambda work, stop: finding.find(work, words, self._models, stop))

    async def point(self, name: object, at: tuple[float, float]) -> Seen:
        """As `find`, outline what lies at a point.  at: x, y in pixels of `drawing.drawn`."""
        return await self._in_turn(name, "segment", lambda work, stop: finding.point(work, at, self._models, stop))

    def talk(self, name: object, text: str, mode: str, leaving: Cancellation | None = None) -> Generator[Seen, None, None]:
        """Ask the region model, or with the mode "agent" let the agent work; each time the chat has grown.

        leaving: ends it where the visitor leaves.
        It ends without a word where the visitor has opened another image meanwhile.
        """
        seen = self.look(name)
        try:
            work = self._visitors.growing(name)
        except RoiAgentError as error:
            yield replace(seen, status=markup.status(error=error))
            return
        gone = leaving or Cancellation()
        steps = talking.work_on(work, text, gone) if mode == "agent" else talking.ask(work, text, self._models, gone)
        for _ in steps:
            if self._visitors.find(name) not in (work, None):
                return
            yield replace(seen, work=work, talking=True)
        yield replace(seen, work=work)

    def stop(self, name: object) -> Seen:
        """End early what the visitor waits for; what it found so far stays."""
        seen = self.look(name)
        if seen.work is not None:
            seen.work.stop()
        return seen

    def restart(self, name: object) -> Seen:
        """Begin a new conversation; image and regions stay."""
        seen = self.look(name)
        if seen.work is not None:
            seen.work.restart()
        return seen

    def _open(self, seen: Seen, source: object) -> Seen:
        """Errors: PageFull, and those of `load_image`; the earlier work is then kept."""
        loaded = load_image(source, max_pixels=self._max_pixels, web=False)
        work = Work(loaded, self._agent(), f"{self._files}/{seen.visitor}")
        self._visitors.put(seen.visitor, work)
        return replace(seen, work=work, status=markup.status("; ".join(loaded.notes)), opened=True)

    def _agent(self) -> Agent:
        """An agent for one image's work: with it goes its conversation."""
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

    async def _in_turn(self, name: object, kind: str, act: Callable[[Work, Cancellation], str]) -> Seen:
        seen = self.look(name)
        try:
            work = self._visitors.growing(name)
            told = await self._lane(Job(kind, lambda stop: act(work, stop)))
        except Exception as error:
            return replace(seen, status=markup.status(error=talking.as_coded_error(error)))
        if (now := self._visitors.find(name)) not in (work, None):
            return replace(seen, work=now)
        return replace(seen, work=work, status=markup.status(told))
