"""The workspaces behind one MCP server: the only one over stdio, or under names that nobody can guess over HTTP.

HTTP in MCP's newer form has no sessions, so a client keeps what it works with by naming it.
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

MOST = 1000
KEEP_S = 3600.0
_ADDRESS = re.compile(r"data:|[A-Za-z][A-Za-z0-9+.-]*://|file:", re.IGNORECASE)
_ALLOWED = "give a path of this machine, as in /pictures/a.png or file:///pictures/a.png"


class Workspaces:
    """Toolboxes by the names of their workspaces. Safe under threads.

    only: serve this one, which needs no name; without it, `open` makes new ones.
    max_pixels: of an image, as `load_image` has it.
    folders: whose files may be opened; None for any, as over stdio, where whoever asks has started the process.
    load: reads what is no file, such as a data: URL.  image_bytes: that the pixels of all images may take in memory.
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
        self._kept: OrderedDict[str, tuple[Toolbox, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def open(self) -> tuple[str, Toolbox]:
        """A new workspace under a new name; the one used longest ago makes room."""
        with self._lock:
            now = self._clock()
            for name, (_, used) in list(self._kept.items()):
                if now - used > KEEP_S or len(self._kept) >= MOST:
                    del self._kept[name]
            name, toolbox = f"ws-{secrets.token_hex(12)}", Toolbox(self._new(), self.models, pictures=True)
            self._kept[name] = (toolbox, now)
            return name, toolbox

    def get(self, name: str | None) -> Toolbox:
        """The toolbox over a workspace.  Error: InvalidSetting for one that is not there."""
        if self.only is not None:
            return self.only
        with self._lock:
            if name is None or name not in self._kept or self._clock() - self._kept[name][1] > KEEP_S:
                raise InvalidSetting(
                    "no workspace is named" if name is None else "there is no such workspace, or it was forgotten",
                    do="open an image with open_image, and name the workspace that it gives",
                )
            toolbox = self._kept[name][0]
            self._kept[name] = (toolbox, self._clock())
            self._kept.move_to_end(name)
            return toolbox

    def _new(self) -> Workspace:
        return Workspace(max_image_bytes=self._max_image_bytes)

    @property
    def image_bytes(self) -> int:
        """Bytes that the pixels of all images take in memory."""
        return sum(toolbox.workspace.image_bytes for toolbox, _ in list(self._kept.values()))

    def make_room(self) -> None:
        """Forget the workspaces used longest ago until the images of all fit; the newest stays."""
        with self._lock:
            held = self.image_bytes
            for name, (toolbox, _) in list(self._kept.items())[:-1]:
                if self._max_image_bytes is None or held <= self._max_image_bytes:
                    return
                held -= toolbox.workspace.image_bytes
                del self._kept[name]

    def load(self, source: str) -> LoadedImage:
        """The image of a path, or of an address.  Errors: those of `check_source` and `load_image`."""
        found = self.check_source(source)
        return self._load_file(found) if isinstance(found, Path) else self._load(found)

    def check_source(self, source: str) -> str | Path:
        """The path where the source names a file that may be read, or else the source; whether there is a file is not told.

        Error: ImageUnreadable.
        """
        if _ADDRESS.match(source) and source[:5].lower() != "file:":
            return source
        try:
            path = Path(path_of(source))
            resolved = path.resolve()
        except (OSError, ValueError):
            raise ImageUnreadable("the path cannot be read", do=_ALLOWED) from None
        if self.folders is not None and not any(resolved.is_relative_to(folder) for folder in self.folders):
            raise ImageUnreadable("the file lies in no folder that this server may read", do="give a data: URL")
        return path
