"""The KV cache of a batch: keys and values of running questions after the prefix of their images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_GROWTH = 32  # tokens added to the capacity of all rows when one is full


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of the prefix that all questions about one image share: for each layer (G, P, D)."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def length(self) -> int:
        """P, in tokens."""
        return self.keys[0].shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(each.nbytes for each in (*self.keys, *self.values))


class BatchedKVCache:
    """B rows, as a transformers cache whose caller passes mask and positions.

    prefixes: of each row; rows of one image are adjacent.  lengths: (B,) own tokens of each row so far.
    """

    def __init__(self, prefixes: Sequence[Prefix], lengths: Tensor) -> None:
        self.prefixes, self.lengths = list(prefixes), lengths
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._capacity = 0
        self.spans = _spans(self.prefixes)

    def __len__(self) -> int:
        return len(self.prefixes)

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object) -> tuple[Tensor, Tensor]:
        """Store keys and values of a layer, (B, G, T, D); returns those of all own tokens.

        The first call for a layer stores whole questions, each later call the next token of every row. Its position comes from
        `lengths`, so a failed step can simply be repeated.
        """
        if layer_idx == len(self._keys):
            self._keys.append(keys)
            self._values.append(values)
            self._capacity = keys.shape[2]
            return keys, values
        index = torch.arange(len(self), device=keys.device)
        self._keys[layer_idx][index, :, self.lengths] = keys[:, :, 0]
        self._values[layer_idx][index, :, self.lengths] = values[:, :, 0]
        # After running out of memory in `reserve`, some layers have a larger capacity than others.
        return self._keys[layer_idx][:, :, : self._capacity], self._values[layer_idx][:, :, : self._capacity]

    def reserve(self) -> None:
        """Make room for one more token in every row."""
        if int(self.lengths.max()) < self._capacity:
            return
        capacity = self._capacity + _GROWTH
        for kept in (self._keys, self._values):
            for layer, each in enumerate(kept):  # one at a time, so that only one is in memory twice
                kept[layer] = F.pad(each, (0, 0, 0, capacity - each.shape[2]))
        self._capacity = capacity  # last: a failed attempt is repeated

    def mask(self, dtype: torch.dtype) -> Tensor:
        """(B, 1, 1, capacity): the additive mask of the next token of each row over own tokens, itself included."""
        unseen = torch.arange(self._capacity, device=self.lengths.device) > self.lengths[:, None]
        return torch.zeros_like(unseen, dtype=dtype).masked_fill(unseen, torch.finfo(dtype).min)[:, None, None]

    def positions(self) -> Tensor:
        """(B, 1): the position of the next token of each row."""
        before = torch.tensor([prefix.length for prefix in self.prefixes], device=self.lengths.device)
        return (before + self.lengths)[:, None]

    def take(self, indices: Sequence[int]) -> "BatchedKVCache":
        """Some of the rows, in this order; rows of one image must stay adjacent."""
        index = torch.tensor(indices, dtype=torch.long, device=self.lengths.device)
        taken = BatchedKVCache([self.prefixes[each] for each in indices], self.lengths[index])
        taken._keys = [each[index] for each in self._keys]
        taken._values = [each[index] for each in self._values]
        taken._capacity = self._capacity
        return taken

    def cut(self, start: int, end: int) -> "BatchedKVCache":
        """Adjacent rows, without a copy."""
        part = BatchedKVCache(self.prefixes[start:end], self.lengths[start:end])
        part._keys = [each[start:end] for each in self._keys]
        part._values = [each[start:end] for each in self._values]
        part._capacity = self._capacity
        return part

    def join(self, others: "BatchedKVCache") -> "BatchedKVCache":
        """These rows followed by others."""
        capacity = max(self._capacity, others._capacity)
        both = BatchedKVCache([*self.prefixes, *others.prefixes], torch.cat([self.lengths, others.lengths]))
        both._capacity = capacity
        both._keys = [torch.cat(_padded(pair, capacity)) for pair in zip(self._keys, others._keys, strict=True)]
        both._values = [torch.cat(_padded(pair, capacity)) for pair in zip(self._values, others._values, strict=True)]
        return both


def order_by_prefix(prefixes: Sequence[Prefix]) -> list[int]:
    """An order of rows in which those of one image are adjacent; stable otherwise."""
    first = {id(prefix): index for index, prefix in reversed(list(enumerate(prefixes)))}
    return sorted(range(len(prefixes)), key=lambda index: first[id(prefixes[index])])


def _spans(prefixes: Sequence[Prefix]) -> list[tuple[Prefix, slice]]:
    """Every run of rows with the same prefix."""
    starts = [index for index, prefix in enumerate(prefixes) if index == 0 or prefix is not prefixes[index - 1]]
    return [(prefixes[start], slice(start, end)) for start, end in zip(starts, [*starts[1:], len(prefixes)], strict=True)]


def _padded(pair: tuple[Tensor, Tensor], capacity: int) -> list[Tensor]:
    return [each if each.shape[2] == capacity else F.pad(each, (0, 0, 0, capacity - each.shape[2])) for each in pair]
