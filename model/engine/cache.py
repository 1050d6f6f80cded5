"""What is kept of images between questions, under a budget of bytes; the one used longest ago goes first."""

from collections import OrderedDict
from dataclasses import dataclass, field

from torch import Tensor

from roi_agent.model.engine.kv_cache import Prefix
from roi_agent.model.gpt4roi.modeling import ImageFeatures

RegionKey = tuple[float | str, ...]


@dataclass(eq=False, slots=True)
class CachedImage:
    """An image as the model knows it.

    vectors: of regions that were asked about, by their boxes, xyxy in pixels, and the digests of their masks where the model
    pools by masks.  notes: on the image, for every answer.
    """

    features: ImageFeatures
    prefix: Prefix
    notes: tuple[str, ...] = ()
    vectors: dict[RegionKey, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        one = next(iter(self.vectors.values()), None)  # all are alike, and there may be thousands
        vectors = 0 if one is None else one.nbytes * len(self.vectors)
        return self.prefix.nbytes + vectors + sum(each.nbytes for each in (self.features.tokens, *self.features.maps))


class ImageCache:
    """Kept images by a SHA-256 that we make over mode, size and pixels; a cache serves one processor and its weights only.

    budget_bytes: of all of them.  Changed by one thread only.
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
        """Of all kept images."""
        return sum(each.nbytes for each in list(self._images.values()))

    def get(self, key: str) -> CachedImage | None:
        """The image, which counts as used."""
        if key not in self._images:
            return None
        self._images.move_to_end(key)
        return self._images[key]

    def put(self, key: str, image: CachedImage) -> None:
        """Keep an image."""
        self._images[key] = image
        self._images.move_to_end(key)
        self.shrink()

    def shrink(self) -> None:
        """Forget images until the rest fit the budget; questions that are being answered hold on to theirs."""
        size = self.nbytes
        while self._images and size > self.budget_bytes:
            _, gone = self._images.popitem(last=False)
            size -= gone.nbytes
            self.evicted += 1

    def clear(self) -> None:
        """Forget all."""
        self._images.clear()
