"""The visitors of the page: each browser has its own work, under an unguessable name, within common limits."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

from roi_agent.model.errors import PageFull, UnknownImage
from roi_agent.ui.work import Work

COOKIE = "roi-agent-visitor"  # in which a browser keeps its visitor's name
_NAME = re.compile(r"[0-9a-f]{32}")
_MIB = 1 << 20


@dataclass(slots=True)
class _Visit:
    """One visitor.  last_seen: time of the last call.  incoming: bytes of uploads in progress.  upload: handle and bytes."""

    last_seen: float
    work: Work | None = None
    incoming: int = 0
    upload: tuple[str, bytes] | None = None

    @property
    def nbytes(self) -> int:
        return self.incoming + (self.work.nbytes if self.work else 0) + (len(self.upload[1]) if self.upload else 0)


class Visitors:
    """The work and uploads of every visitor. Thread-safe.

    max_visitors: limit of visitors.  visitor_bytes, total_bytes: memory for the images and files of one visitor, and of all.
    idle_s: idle seconds after which a visitor may be replaced by a new one, the longest idle first; while all are active, new
        visitors are refused.  keep_s: idle seconds after which a visitor is removed.
    """

    def __init__(
        self,
        *,
        max_visitors: int,
        visitor_bytes: int,
        total_bytes: int,
        idle_s: float,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_visitors, self._visitor_bytes, self._total_bytes = max_visitors, visitor_bytes, total_bytes
        self._idle_s, self._keep_s, self._clock = idle_s, keep_s, clock
        self._kept: OrderedDict[str, _Visit] = OrderedDict()  # the longest idle first
        self._lock = threading.RLock()

    def __len__(self) -> int:
        with self._lock:
            self._forget_expired()
            return len(self._kept)

    def find(self, name: object) -> Work | None:
        """Return the work of a visitor, who counts as active now; None if there is none (any more)."""
        with self._lock:
            self._forget_expired()
            visit = self._kept.get(name) if isinstance(name, str) else None
            if visit is None:
                return None
            self._touch(str(name), visit)
            return visit.work

    def get(self, name: object) -> Work:
        """As `find`.  Error: UnknownImage if there is none."""
        work = self.find(name)
        if work is None:
            raise UnknownImage("no image is open", do="open one, or pick an example; images are removed after a long break")
        return work

    def for_writing(self, name: object) -> Work:
        """As `get`, for actions that make the work larger.  Error: PageFull if it is already too large."""
        work = self.get(name)
        if work.nbytes > self._visitor_bytes:
            problem = f"the work on this picture takes {_mib(work.nbytes)}, over the limit of {_mib(self._visitor_bytes)}"
            raise PageFull(problem, do="open the picture again")
        return work

    def put(self, name: object, work: Work) -> None:
        """Set the visitor's work, replacing any earlier one.  A name that the server did not issue is ignored.

        Error: PageFull; the earlier work is then kept.
        """
        if not is_name(name):
            return
        with self._lock:
            earlier = self._kept.get(str(name))
            freed = earlier.work.nbytes if earlier and earlier.work else 0
            self._reserve(str(name), work.nbytes - freed).work = work

    @contextmanager
    def receiving(self, name: str) -> Iterator[Callable[[int], None]]:
        """Reserve memory during an upload: yields a function to call with the size so far, which may raise PageFull."""
        reserved = 0

        def grow(size: int) -> None:
            nonlocal reserved
            with self._lock:
                while size > reserved:
                    self._reserve(name, _MIB).incoming += _MIB
                    reserved += _MIB

        try:
            yield grow
        finally:
            with self._lock:
                if (visit := self._kept.get(name)) is not None:
                    visit.incoming -= reserved
                    self._drop_empty(name, visit)

    def send(self, name: str, data: bytes) -> str:
        """Keep an upload until its visitor opens it, replacing an earlier one; return its handle.  Error: PageFull."""
        handle = token_hex(16)
        with self._lock:
            earlier = self._kept.get(name)
            freed = len(earlier.upload[1]) if earlier and earlier.upload else 0
            self._reserve(name, len(data) - freed).upload = (handle, data)
        return handle

    def take(self, name: object, handle: object) -> bytes:
        """Return and forget a visitor's upload.  Error: UnknownImage."""
        with self._lock:
            visit = self._kept.get(name) if isinstance(name, str) else None
            if visit is None or visit.upload is None or visit.upload[0] != handle:
                raise UnknownImage("there is no such upload", do="upload the file again")
            data, visit.upload = visit.upload[1], None
            self._drop_empty(str(name), visit)
            return data

    def _reserve(self, name: str, more: int) -> _Visit:
        """Return the visit of that name, with room for more bytes.  Error: PageFull."""
        self._forget_expired()
        visit = self._kept.get(name) or _Visit(self._clock())
        if more > 0 and visit.nbytes + more > self._visitor_bytes:
            problem = f"the picture takes {_mib(visit.nbytes + more)}, over the limit of {_mib(self._visitor_bytes)}"
            raise PageFull(problem, do="upload a smaller one, or raise the limit: --visitor-memory of the server")
        for idle in [
            other for other, each in self._kept.items() if self._clock() - each.last_seen > self._idle_s and other != name
        ]:
            if self._has_room(name, more):
                break
            del self._kept[idle]
        if not self._has_room(name, more):
            raise PageFull("the page has reached its limit of visitors or pictures", do="try again in a few minutes")
        self._touch(name, visit)
        return visit

    def _has_room(self, name: str, more: int) -> bool:
        reserved = sum(each.nbytes for each in self._kept.values())
        return len(self._kept.keys() | {name}) <= self._max_visitors and (more <= 0 or reserved + more <= self._total_bytes)

    def _drop_empty(self, name: str, visit: _Visit) -> None:
        if visit.work is None and visit.upload is None and not visit.incoming:
            del self._kept[name]

    def _touch(self, name: str, visit: _Visit) -> None:
        visit.last_seen = self._clock()
        self._kept[name] = visit
        self._kept.move_to_end(name)

    def _forget_expired(self) -> None:
        now = self._clock()
        for name, visit in list(self._kept.items()):
            if now - visit.last_seen <= self._keep_s:
                return
            del self._kept[name]


def new_name() -> str:
    """Return a new name for a visitor, to be stored in the browser."""
    return token_hex(16)


def is_name(name: object) -> bool:
    """Whether a value has the form of a visitor's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _mib(nbytes: int) -> str:
    return f"{nbytes / _MIB:,.1f} MiB"
