"""Conversations with an agent: messages, images and regions, in memory or in a folder.

threads.sqlite           the messages, as LangGraph's checkpoints
workspaces/THREAD/       images and regions, written by `Workspace.save`
"""

import re
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from roi_agent.model.errors import InvalidSetting, WorkspaceUnreadable
from roi_agent.model.utils.messages import escaped
from roi_agent.tools import storage
from roi_agent.tools.toolbox import Toolbox
from roi_agent.tools.workspace import Workspace

MAX_OPEN = 32  # conversations in memory; without a folder, the least recently used one is deleted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(slots=True)
class Conversation:
    """One conversation.  folder: of its workspace, or None.  lock: held by the current run."""

    thread: str
    toolbox: Toolbox
    folder: Path | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def workspace(self) -> Workspace:
        """The images and regions."""
        return self.toolbox.workspace

    def save(self) -> None:
        """Save images and regions if there is a folder.  Errors: those of `Workspace.save`."""
        if self.folder is not None:
            self.workspace.save(self.folder)


class Threads:
    """The conversations of an agent, by name.  toolbox: workspace -> its tools.  Error: WorkspaceUnreadable."""

    def __init__(self, toolbox: Callable[[Workspace], Toolbox], folder: str | Path | None = None) -> None:
        self._toolbox, self._folder = toolbox, Path(folder) if folder is not None else None
        self._open: dict[str, Conversation] = {}
        self._lock = threading.Lock()
        self.checkpointer: BaseCheckpointSaver[str] = self._open_checkpointer()

    def open(self, thread: str | None = None) -> Conversation:
        """Return the conversation of a name, which may be new; default: a new one.

        Errors: InvalidSetting for an invalid name, WorkspaceUnreadable.
        """
        name = uuid4().hex[:12] if thread is None else thread
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidSetting(f"the thread {escaped(name)} has an invalid name", do="use up to 64 letters, digits and . _ -")
        with self._lock:
            conversation = self._open.pop(name, None) or self._load(name)
            self._open[name] = conversation
            idle = [each for each in self._open.values() if not each.lock.locked() and each is not conversation]
            for old in idle[: max(0, len(self._open) - MAX_OPEN)]:
                del self._open[old.thread]
                if self._folder is None:
                    self.checkpointer.delete_thread(old.thread)
            return conversation

    def _load(self, name: str) -> Conversation:
        folder = self._folder / "workspaces" / name if self._folder else None
        workspace = Workspace.load(folder) if folder and storage.exists(folder) else Workspace()
        return Conversation(name, self._toolbox(workspace), folder)

    def _open_checkpointer(self) -> BaseCheckpointSaver[str]:
        if self._folder is None:
            return InMemorySaver()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._folder / "threads.sqlite", check_same_thread=False)
            saver = SqliteSaver(connection)
            saver.setup()
        except (OSError, sqlite3.Error) as error:
            problem = f"the folder {self._folder.name!r} cannot store conversations: {error}"
            raise WorkspaceUnreadable(problem, do="give a folder that can be written") from None
        return saver
