"""The workspaces of one MCP server: a single one over stdio, or many with unguessable names over HTTP.

MCP's newer HTTP transport has no sessions, so clients name their workspace in every call.
"""

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from roi_agent.model.errors import ImageUnreadable, InvalidSetting
from roi_agent.model.images.file_urls import path_of
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import Toolbox
from roi_agent.tools.workspace import Workspace

MAX_WORKSPACES = 1000
IDLE_TIMEOUT_S = 3600.0
_ADDRESS = re.compile(r"data:|[A-Za-z][A-Za-z0-9+.-]*://|file:", re.IGNORECASE)
_HINT = "give a path of this machine, as in /pictures/a.png or file:///pictures/a.png"


class Workspaces:
    """Toolboxes by the names of their workspaces. Thread-safe.

    only: the single workspace, which needs no name; without it, `open` creates new ones.
    max_pixels: of an image, as in `load_image`.
    folders: folders whose files may be opened; None for any, as over stdio, where the client has started the process.
    load: loads other sources, such as data: URLs.  image_bytes: maximum memory of the pixels of all images.
    """

    def __init__(
        self,
        models: Models,
        *,
        only: Workspace | None = None,
        folders: Sequence[Path] | None = None,
        max_pixels: int | None = None,
        load: Callable[[str], LoadedImage] | None = None,
        image_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.models, self._max_image_bytes, self._clock = models, image_bytes, clock
        self._load_file: Callable[[str | Path], LoadedImage] = partial(load_image, max_pixels=max_pixels, web=False)
        self._load = load or self._load_file
        self.only = Toolbox(only, models, pictures=True) if only is not None else None
        self.folders = None if folders is None else [folder.resolve() for folder in folders]
        self._toolboxes: OrderedDict[str, tuple[Toolbox, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._toolboxes)

    def open(self) -> tuple[str, Toolbox]:
        """Create a workspace under a new name; the least recently used one is dropped if there are too many."""
        with self._lock:
            now = self._clock()
            for name, (_, used) in list(self._toolboxes.items()):
                if now - used > IDLE_TIMEOUT_S or len(self._toolboxes) >= MAX_WORKSPACES:
                    del self._toolboxes[name]
            name, toolbox = f"ws-{secrets.token_hex(12)}", Toolbox(self._new_workspace(), self.models, pictures=True)
            self._toolboxes[name] = (toolbox, now)
            return name, toolbox

    def get(self, name: str | None) -> Toolbox:
        """Return the toolbox of a workspace.  Error: InvalidSetting for an unknown one."""
        if self.only is not None:
            return self.only
        with self._lock:
            if name is None or name not in self._toolboxes or self._clock() - self._toolboxes[name][1] > IDLE_TIMEOUT_S:
                raise InvalidSetting(
                    "no workspace is named" if name is None else "the workspace does not exist or has expired",
                    do="open an image with open_image, and use the workspace that it returns",
                )
            toolbox = self._toolboxes[name][0]
            self._toolboxes[name] = (toolbox, self._clock())
            self._toolboxes.move_to_end(name)
            return toolbox

    def _new_workspace(self) -> Workspace:
        return Workspace(max_image_bytes=self._max_image_bytes)

    @property
    def image_bytes(self) -> int:
        """Memory of the pixels of all images, in bytes."""
        return sum(toolbox.workspace.image_bytes for toolbox, _ in list(self._toolboxes.values()))

    def make_room(self) -> None:
        """Drop the least recently used workspaces until all images fit; the newest is kept."""
        with self._lock:
            total_bytes = self.image_bytes
            for name, (toolbox, _) in list(self._toolboxes.items())[:-1]:
                if self._max_image_bytes is None or total_bytes <= self._max_image_bytes:
                    return
                total_bytes -= toolbox.workspace.image_bytes
                del self._toolboxes[name]

    def load(self, source: str) -> LoadedImage:
        """Load the image of a path or URL.  Errors: those of `check_source` and `load_image`."""
        found = self.check_source(source)
        return self._load_file(found) if isinstance(found, Path) else self._load(found)

    def check_source(self, source: str) -> str | Path:
        """Return the path of a readable file, or the source itself if it is not a file; does not reveal whether a file exists.

        Error: ImageUnreadable.
        """
        if _ADDRESS.match(source) and source[:5].lower() != "file:":
            return source
        try:
            path = Path(path_of(source))
            resolved = path.resolve()
        except (OSError, ValueError):
            raise ImageUnreadable("the path cannot be read", do=_HINT) from None
        if self.folders is not None and not any(resolved.is_relative_to(folder) for folder in self.folders):
            raise ImageUnreadable("the file is not in a folder that this server may read", do="give a data: URL")
        return path
