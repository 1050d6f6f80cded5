"""The image cache: a least-recently-used cache of encoded images under a byte budget."""

from collections import OrderedDict
from dataclasses import dataclass, field

from torch import Tensor

from roi_agent.model.engine.kv_cache import Prefix
from roi_agent.model.gpt4roi.modeling import ImageFeatures

RegionKey = tuple[float | str, ...]


@dataclass(eq=False, slots=True)
class CachedImage:
    """An encoded image.

    vectors: of regions asked about so far, by box (xyxy in pixels), and by mask digest if the model pools by masks.
    notes: about the image, added to every answer.
    """

    features: ImageFeatures
    prefix: Prefix
    notes: tuple[str, ...] = ()
    vectors: dict[RegionKey, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        one = next(iter(self.vectors.values()), None)  # all have one size, and there may be thousands
        vectors = 0 if one is None else one.nbytes * len(self.vectors)
        return self.prefix.nbytes + vectors + sum(each.nbytes for each in (self.features.tokens, *self.features.maps))


class ImageCache:
    """Encoded images by SHA-256 digest of mode, size and pixels; valid for one processor and one set of weights.

    budget_bytes: for all images.  Only one thread may change the cache.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.evicted = 0
        self._images: OrderedDict[str, CachedImage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, key: str) -> bool:
        return key in self._images

    @property
    def nbytes(self) -> int:
        """Bytes of all cached images."""
        return sum(each.nbytes for each in list(self._images.values()))

    def get(self, key: str) -> CachedImage | None:
        """The image, marked as used, or None."""
        if key not in self._images:
            return None
        self._images.move_to_end(key)
        return self._images[key]

    def put(self, key: str, image: CachedImage) -> None:
        """Add an image."""
        self._images[key] = image
        self._images.move_to_end(key)
        self.shrink()

    def shrink(self) -> None:
        """Evict images until the rest fit the budget; running questions hold on to theirs."""
        size = self.nbytes
        while self._images and size > self.budget_bytes:
            _, gone = self._images.popitem(last=False)
            size -= gone.nbytes
            self.evicted += 1

    def clear(self) -> None:
        """Evict all images."""
        self._images.clear()
