"""The work of one visitor: an image with its regions, the conversation about it, and the agent's last run."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from roi_agent.agent.agent import Agent
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.tools.workspace import Workspace
from roi_agent.trace import Trace

THREAD = "page"
_PAGES = 8  # browser pages whose last drawing is remembered

# A message of Gradio's chat: role, content, optional metadata.
Message = dict[str, Any]


class Work:
    """One image and everything done with it.

    The workspace only grows, because a handle never changes its meaning. A newly drawn box is a draft under the next handle: it
    can be moved until something uses the regions (`settle`). Deleted regions are hidden.

    key: identifies this image's work, so that late changes of an earlier image can be ignored.
    acknowledged: the number of the last applied drawing, by page.
    version: counts the states sent to pages.
    drafts: boxes with labels, in the order of their handles.  hidden: handles.  highlighted: a handle, or None.
    files: base address of the visitor's files.  pictures: of the agent's steps, as JPEG, by name.
    turns: of the current conversation with the region model.  implied: the region that its first question is about without
    mentioning it.
    messages: of the whole chat.  trace: of the agent's last run.
    """

    def __init__(self, image: LoadedImage, agent: Agent, files: str) -> None:
        self.agent, self.files, self.key, self.lock = agent, files, token_hex(8), threading.RLock()
        self.workspace: Workspace = agent.workspace(THREAD)
        self.image = self.workspace.add_image(image)
        self.drafts: list[tuple[Box, str | None]] = []
        self.hidden: set[str] = set()
        self.highlighted: str | None = None
        self.turns: list[Turn] = []
        self.implied: str | None = None
        self.messages: list[Message] = []
        self.trace: Trace | None = None
        self.pictures: dict[str, bytes] = {}
        self.acknowledged: dict[str, int] = {}
        self.version = 0
        self._stops: list[Callable[[], None]] = []

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes: pixels of the image and of its enlarged parts, masks, pictures of steps, and the chat."""
        with self.lock:
            pixels = sum(each.image.nbytes for each in self.workspace.images)
            runs = sum(len(each.mask.runs) for each in self.workspace.regions() if each.mask is not None)
            pictures, words = map(len, self.pictures.values()), (len(str(each["content"])) for each in self.messages)
            return pixels + 32 * runs + sum(pictures) + sum(words)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions on the page, including drafts."""
        with self.lock:
            kept = [each for each in self.workspace.regions() if each.name not in self.hidden]
            return (*kept, *self.drafted)

    @property
    def drafted(self) -> tuple[Region, ...]:
        """The drafts, under their future handles."""
        with self.lock:
            first = len(self.workspace.regions()) + 1
            numbered = enumerate(self.drafts, start=first)
            return tuple(Region(f"region{n}", box, label, image=self.image.name) for n, (box, label) in numbered)

    def settle(self) -> None:
        """Turn the drafts into regions: their handles are then fixed."""
        with self.lock:
            items = [{"box": box, "label": label} for box, label in self.drafts]
            self.drafts = []
            self.workspace.add_regions(items, image=self.image)

    def show(self, regions: Sequence[Region]) -> None:
        """Show regions, even if they were hidden."""
        with self.lock:
            self.hidden -= {region.name for region in regions}

    def acknowledge(self, page: str, number: object) -> None:
        """Record that a page's drawing was applied.  number: of the drawing, which increases."""
        with self.lock:
            self.acknowledged.pop(page[:40], None)
            self.acknowledged[page[:40]] = number if isinstance(number, int) else 0
            for old in list(self.acknowledged)[:-_PAGES]:
                del self.acknowledged[old]

    @contextmanager
    def stoppable(self, stop: Callable[[], None]) -> Iterator[None]:
        """Register work that the visitor waits for.  stop: ends it early, from any thread."""
        self._stops.append(stop)
        try:
            yield
        finally:
            self._stops.remove(stop)

    def stop(self) -> None:
        """Stop all work in progress."""
        for stop in tuple(self._stops):
            stop()

    def restart(self) -> None:
        """Start a new conversation about the same image and regions."""
        self.turns, self.implied, self.messages, self.pictures = [], None, [], {}
