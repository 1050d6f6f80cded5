"""A table of the tensors in a published file: shapes, and names in transformers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The target of a tensor: one name; or several that each get equal parts of its rows, or (copied) the whole tensor."""

    shape: Shape
    names: tuple[str, ...]
    copied: bool = False


class NameTable:
    """Published name -> target, filled layer by layer."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self._old = self._new = ""

    @contextmanager
    def under(self, old: str, new: str) -> Iterator[None]:
        """Prefix names in this block, after the prefixes of outer blocks."""
        before = self._old, self._new
        self._old, self._new = self._old + old, self._new + new
        try:
            yield
        finally:
            self._old, self._new = before

    def tensor(self, old: str, new: str, *shape: int) -> None:
        """One tensor."""
        self.places[self._old + old] = Place(shape, (self._new + new,))

    def layer(self, old: str, new: str, *shape: int, bias: int | None = None) -> None:
        """A layer with weight and bias.  bias: its length, if not the number of rows."""
        self.tensor(f"{old}.weight", f"{new}.weight", *shape)
        self.tensor(f"{old}.bias", f"{new}.bias", shape[0] if bias is None else bias)

    def layers(self, names: Mapping[str, str], *shape: int) -> None:
        """Several layers of one shape."""
        for old, new in names.items():
            self.layer(old, new, *shape)

    def fused(self, old: str, parts: tuple[str, ...], width: int, *, joint: str = ".") -> None:
        """Square layers that the file stores as one, `{old}{joint}weight`."""
        for kind, rest in (("weight", (width,)), ("bias", ())):
            names = tuple(f"{self._new}{part}.{kind}" for part in parts)
            self.places[f"{self._old}{old}{joint}{kind}"] = Place((len(parts) * width, *rest), names)

    def copied(self, old: str, names: tuple[str, ...], *shape: int) -> None:
        """One tensor that transformers stores under several names, given without the block's prefix."""
        self.places[self._old + old] = Place(shape, names, copied=True)

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights to transformers' names; every name of the table must be present."""
        result: dict[str, Tensor] = {}
        for old, place in self.places.items():
            several = place.copied or len(place.names) == 1
            parts = [weights[old]] * len(place.names) if several else weights[old].chunk(len(place.names))
            result |= {new: part.contiguous() for new, part in zip(place.names, parts, strict=True)}
        return result
