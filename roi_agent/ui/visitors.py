"""Who visits the page: each browser has its own work, under a name that nobody can guess; what is old is forgotten."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from secrets import token_hex

from roi_agent.model.errors import UnknownImage
from roi_agent.ui.work import Work

COOKIE = "roi-agent-visitor"  # in which a browser keeps its visitor's name
_NAME = re.compile(r"[0-9a-f]{32}")


class Visitors:
    """The work of every visitor. Safe under threads.

    most: visitors that are kept; the one who was away longest makes room.  keep_s: seconds since the last visit.
    image_bytes: of the pixels of all images; those away longest make room, the newest image stays.
    """

    def __init__(self, *, most: int, keep_s: float, image_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._keep_s, self._image_bytes, self._clock = most, keep_s, image_bytes, clock
        self._kept: OrderedDict[str, tuple[Work, float]] = OrderedDict()  # the longest away first
        self._sent: OrderedDict[str, tuple[str, bytes]] = OrderedDict()  # by visitor: the last file that was sent, and its handle
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._forget()
            return len(self._kept)

    def find(self, name: object) -> Work | None:
        """The work of a visitor, who is here now; None where there is none (any more)."""
        with self._lock:
            self._forget()
            if not isinstance(name, str) or name not in self._kept:
                return None
            work = self._kept[name][0]
            self._keep(name, work)
            return work

    def get(self, name: object) -> Work:
        """As `find`.  Error: UnknownImage where there is none."""
        work = self.find(name)
        if work is None:
            raise UnknownImage("no image is open", do="open one, or pick an example; what is left for long is forgotten")
        return work

    def put(self, name: object, work: Work) -> None:
        """The visitor's new work, instead of any earlier.  A name that we did not give is not kept."""
        if not is_name(name):
            return
        with self._lock:
            self._keep(str(name), work)
            self._forget()

    def send(self, name: str, data: bytes) -> str:
        """Keep a file until its visitor opens it, in place of an earlier one; gives its handle."""
        handle = token_hex(16)
        with self._lock:
            self._sent[name] = (handle, data)
            self._sent.move_to_end(name)
            while len(self._sent) > self._most:
                self._sent.popitem(last=False)
        return handle

    def take(self, name: object, handle: object) -> bytes:
        """A file that the visitor has sent; it is then no longer kept.  Error: UnknownImage."""
        with self._lock:
            sent = self._sent.get(str(name))
            if sent is None or sent[0] != handle:
                raise UnknownImage("no such file was sent", do="send it again")
            del self._sent[str(name)]
            return sent[1]

    def _keep(self, name: str, work: Work) -> None:
        self._kept[name] = (work, self._clock())
        self._kept.move_to_end(name)

    def _forget(self) -> None:
        now = self._clock()
        held = sum(work.image_bytes for work, _ in self._kept.values())
        for name, (work, seen) in list(self._kept.items()):
            last = len(self._kept) == 1
            if now - seen > self._keep_s or len(self._kept) > self._most or (held > self._image_bytes and not last):
                held -= work.image_bytes
                del self._kept[name]


def new_name() -> str:
    """A name for a visitor, kept by the browser."""
    return token_hex(16)


def is_name(name: object) -> bool:
    """Whether it may be a visitor's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
