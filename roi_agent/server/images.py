"""Images that requests name: uploaded once, or given as `data:` or web addresses, decoded once and kept for a while."""

import asyncio
import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from roi_agent.model.errors import ImageUnreadable, UnknownImage
from roi_agent.model.geometry.boxes import MAX_PIXELS
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.images.sources import is_address
from roi_agent.model.images.web import WebImages
from roi_agent.wire.regions import IMAGE_PREFIX

_MAX_DECODING = 2  # images being decoded, which takes some times the memory of one


@dataclass(slots=True)
class _Cached:
    image: LoadedImage
    source: bytes
    used: float


class ImageStore:
    """Decoded images under handles that nobody can guess. Safe under threads.

    budget_bytes: of pixels; the image used longest ago goes first.  keep_s: after the last use.  web: fetches web addresses,
    by default none.  max_pixels: of an image.  clock: seconds.
    """

    def __init__(
        self,
        budget_bytes: int,
        keep_s: float,
        web: WebImages | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_pixels = max_pixels
        self._budget, self._keep_s, self._clock = budget_bytes, keep_s, clock
        self._web = web or WebImages()
        self._cached: OrderedDict[str, _Cached] = OrderedDict()
        self._by_source: dict[bytes, str] = {}
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(_MAX_DECODING)

    def __len__(self) -> int:
        return len(self._cached)

    @property
    def nbytes(self) -> int:
        """Of the pixels of all images."""
        return sum(each.image.nbytes for each in list(self._cached.values()))

    def add(self, source: str | bytes) -> tuple[str, LoadedImage]:
        """Decode and keep the bytes of a file, a `data:` URL or what lies at a web address; gives its handle.

        What was sent before, byte for byte, is not decoded again; the key is a hash that we make.
        Errors: those of `load_image` and `WebImages.fetch`.
        """
        if isinstance(source, str) and is_address(source):
            source = self._web.fetch(source)
        if isinstance(source, str) and source[:5].lower() != "data:":
            raise ImageUnreadable("an image is neither an uploaded one nor a data: URL", do="upload it to /v1/images first")
        known = hashlib.sha256(source.encode() if isinstance(source, str) else source).digest()
        with self._lock:
            handle = self._by_source.get(known)
            if handle is not None and (cached := self._lookup(handle)) is not None:
                return handle, cached
        with self._decoding:
            image = load_image(source, max_pixels=self._max_pixels, web=False)
        with self._lock:
            handle = f"img-{secrets.token_hex(16)}"
            self._cached[handle] = _Cached(image, known, self._clock())
            self._by_source[known] = handle
            self._evict()
        return handle, image

    async def aget(self, name: str) -> LoadedImage:
        """As `get`, in a thread where it may take time."""
        return self.get(name) if name.startswith(IMAGE_PREFIX) else await asyncio.to_thread(self.get, name)

    def get(self, name: str) -> LoadedImage:
        """The image of a handle, or of another address.  Errors: UnknownImage, and those of `add`."""
        if not name.startswith(IMAGE_PREFIX):
            return self.add(name)[1]
        with self._lock:
            image = self._lookup(name.removeprefix(IMAGE_PREFIX))
        if image is None:
            raise UnknownImage("the image was never uploaded, or was forgotten", do="upload it to /v1/images again")
        return image

    def _lookup(self, handle: str) -> LoadedImage | None:
        cached = self._cached.get(handle)
        if cached is None:
            return None
        if self._clock() - cached.used > self._keep_s:
            self._forget(handle)
            return None
        cached.used = self._clock()
        self._cached.move_to_end(handle)
        return cached.image

    def _evict(self) -> None:
        """Forget what is too old, and what does not fit; the newest stays, since a question about it is coming."""
        now, size = self._clock(), self.nbytes
        for handle, cached in list(self._cached.items())[:-1]:
            if size <= self._budget and now - cached.used <= self._keep_s:
                return
            size -= cached.image.nbytes
            self._forget(handle)

    def _forget(self, handle: str) -> None:
        gone = self._cached.pop(handle)
        if self._by_source.get(gone.source) == handle:
            del self._by_source[gone.source]
