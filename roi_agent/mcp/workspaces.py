"""The workspaces behind one MCP server: the only one over stdio, or under names that nobody can guess over HTTP.

HTTP in MCP's newer form has no sessions, so a client keeps what it works with by naming it.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from roi_agent.model.errors import ImageUnreadable, InvalidSetting
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import Toolbox
from roi_agent.tools.workspace import Workspace

MOST = 1000
KEEP_S = 3600.0


class Workspaces:
    """Toolboxes by the names of their workspaces. Safe under threads.

    only: serve this one, which needs no name; without it, `open` makes new ones.
    max_pixels: of an image, as `load_image` has it.
    folders: whose files may be opened; None for any, as over stdio, where whoever asks has started the process.
    """

    def __init__(
        self,
        models: Models,
        *,
        only: Workspace | None = None,
        folders: Sequence[Path] | None = None,
        max_pixels: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.models, self.max_pixels, self._clock = models, max_pixels, clock
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
            name, toolbox = f"ws-{secrets.token_hex(12)}", Toolbox(Workspace(), self.models, pictures=True)
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

    def check_source(self, source: str) -> None:
        """Whether an image may be read from there; whether there is a file is not told.  Error: ImageUnreadable."""
        if source[:5].lower() == "data:" or self.folders is None:
            return
        try:
            path = Path(source).resolve()
        except (OSError, ValueError, RuntimeError):
            path = Path("/")
        if not any(path.is_relative_to(folder) for folder in self.folders):
            raise ImageUnreadable("the file lies in no folder that this server may read", do="give a data: URL")
