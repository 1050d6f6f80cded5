"""What one visitor works on: an image with its regions, the conversation about it, and the agent's last run."""

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
_PAGES = 8  # that one browser has open, at most; of others their last drawing is forgotten

# As Gradio's chat takes it: role, content, perhaps metadata.
Message = dict[str, Any]


class Work:
    """One image and all that was done with it.

    The workspace only grows, since a handle never changes its meaning. A box that was only drawn is a draft under the next
    handle: it may still be moved, until something uses the regions (`settle`). What the visitor deletes is hidden.

    key: of this image's work, by which late news from the browser about an earlier image is known.
    heard: the number of the last news of drawn boxes, by the page that told it.
    version: counts what pages were told.
    drafts: boxes with labels, in the order of their handles.  hidden: handles.  lit: the handle that is shown bright.
    files: the address under which its files are fetched.  pictures: of the agent's steps, as JPEG, by name.
    turns: of the talk with the region model, since the last question that stood for itself.  implied: the region that this
    question is about without naming it.
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
        """Of what grows with use: pixels of the image and of its enlarged parts, masks, pictures of steps, and the chat."""
        with self.lock:
            pixels = sum(each.image.nbytes for each in self.workspace.images)
            runs = sum(len(each.mask.runs) for each in self.workspace.regions() if each.mask is not None)
            pictures, words = map(len, self.pictures.values()), (len(str(each["content"])) for each in self.messages)
            return pixels + 32 * runs + sum(pictures) + sum(words)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Those that the page shows, drafts included."""
        with self.lock:
            kept = [each for each in self.workspace.regions() if each.name not in self.hidden]
            return (*kept, *self.drafted)

    @property
    def drafted(self) -> tuple[Region, ...]:
        """The drafts under the handles that they will have."""
        with self.lock:
            first = len(self.workspace.regions()) + 1
            numbered = enumerate(self.drafts, start=first)
            return tuple(Region(f"region{n}", box, label, image=self.image.name) for n, (box, label) in numbered)

    def settle(self) -> None:
        """Make regions of the drafts: from now on their handles mean them."""
        with self.lock:
            items = [{"box": box, "label": label} for box, label in self.drafts]
            self.drafts = []
            self.workspace.add_regions(items, image=self.image)

    def show(self, regions: Sequence[Region]) -> None:
        """Show regions that may have been hidden."""
        with self.lock:
            self.hidden -= {region.name for region in regions}

    def acknowledge(self, page: str, number: object) -> None:
        """Note that a page told of drawn boxes.  number: of its news, which grows."""
        with self.lock:
            self.acknowledged.pop(page[:40], None)
            self.acknowledged[page[:40]] = number if isinstance(number, int) else 0
            for old in list(self.acknowledged)[:-_PAGES]:
                del self.acknowledged[old]

    @contextmanager
    def stoppable(self, stop: Callable[[], None]) -> Iterator[None]:
        """Something that the visitor waits for.  stop: ends it early, from whichever thread."""
        self._stops.append(stop)
        try:
            yield
        finally:
            self._stops.remove(stop)

    def stop(self) -> None:
        """End early what goes on."""
        for stop in tuple(self._stops):
            stop()

    def restart(self) -> None:
        """Begin a new conversation about the same image and regions."""
        self.turns, self.implied, self.messages, self.pictures = [], None, [], {}
