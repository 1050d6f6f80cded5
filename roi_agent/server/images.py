"""The images of requests: uploaded, or given as `data:` or web URLs; decoded once and cached."""

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

_MAX_DECODING = 2  # images at once, since decoding takes several times the memory of an image


@dataclass(slots=True)
class _Cached:
    image: LoadedImage
    source: bytes
    used: float


class ImageStore:
    """Decoded images under unguessable handles. Thread-safe.

    budget_bytes: maximum size of the pixels; the least recently used image is evicted first.  keep_s: lifetime after the last
    use.  web: fetches web URLs; default: from no host.  max_pixels: of an image.  clock: seconds.
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
        """Size of the pixels of all images."""
        return sum(each.image.nbytes for each in list(self._cached.values()))

    def add(self, source: str | bytes) -> tuple[str, LoadedImage]:
        """Decode and cache the bytes of a file, a `data:` URL or a web URL; return its handle and image.

        Identical bytes are not decoded again; the cache key is a hash of the bytes.
        Errors: those of `load_image` and `WebImages.fetch`.
        """
        if isinstance(source, str) and is_address(source):
            source = self._web.fetch(source)
        if isinstance(source, str) and source[:5].lower() != "data:":
            raise ImageUnreadable("an image is neither uploaded nor a data: URL", do="upload it to /v1/images first")
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
        """As `get`, in a thread if it may take time."""
        return self.get(name) if name.startswith(IMAGE_PREFIX) else await asyncio.to_thread(self.get, name)

    def get(self, name: str) -> LoadedImage:
        """Return the image of a handle or URL.  Errors: UnknownImage, and those of `add`."""
        if not name.startswith(IMAGE_PREFIX):
            return self.add(name)[1]
        with self._lock:
            image = self._lookup(name.removeprefix(IMAGE_PREFIX))
        if image is None:
            raise UnknownImage("the image was never uploaded or has expired", do="upload it to /v1/images again")
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
        """Evict expired images and those over the budget; the newest is kept, since a question about it follows."""
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
