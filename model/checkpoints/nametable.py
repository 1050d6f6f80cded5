"""A table of the tensors that a published file must hold: their shapes, and what they are called in transformers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor goes: one name; or several that take equal parts of its rows, or (copied) the whole tensor each."""

    shape: Shape
    names: tuple[str, ...]
    copied: bool = False


class NameTable:
    """Published name -> its place, filled layer by layer."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self._old = self._new = ""

    @contextmanager
    def under(self, old: str, new: str) -> Iterator[None]:
        """Names of the block have these prefixes, after those of the blocks around it."""
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
        """A layer with weight and bias; bias: its length where that is not the number of rows."""
        self.tensor(f"{old}.weight", f"{new}.weight", *shape)
        self.tensor(f"{old}.bias", f"{new}.bias", shape[0] if bias is None else bias)

    def layers(self, names: Mapping[str, str], *shape: int) -> None:
        """Several layers of one shape."""
        for old, new in names.items():
            self.layer(old, new, *shape)

    def fused(self, old: str, parts: tuple[str, ...], width: int, *, joint: str = ".") -> None:
        """Square layers of a width that the file keeps as one, `{old}{joint}weight`."""
        for kind, rest in (("weight", (width,)), ("bias", ())):
            names = tuple(f"{self._new}{part}.{kind}" for part in parts)
            self.places[f"{self._old}{old}{joint}{kind}"] = Place((len(parts) * width, *rest), names)

    def copied(self, old: str, names: tuple[str, ...], *shape: int) -> None:
        """One tensor that transformers keeps in several places; names without the block's prefix."""
        self.places[self._old + old] = Place(shape, names, copied=True)

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under transformers' names. Every name of the table must be there."""
        result: dict[str, Tensor] = {}
        for old, place in self.places.items():
            several = place.copied or len(place.names) == 1
            parts = [weights[old]] * len(place.names) if several else weights[old].chunk(len(place.names))
            result |= {new: part.contiguous() for new, part in zip(place.names, parts, strict=True)}
        return result
