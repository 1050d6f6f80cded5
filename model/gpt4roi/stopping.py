"""Stop strings, found in the text independently of token boundaries."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """The position of the first stop string in the text, or None."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(places, default=None)


def begun_stop(text: str, stops: Sequence[str]) -> int:
    """The length of the longest suffix of the text that begins a stop string."""
    lengths = (length for stop in stops for length in range(1, len(stop)) if text.endswith(stop[:length]))
    return max(lengths, default=0)


class StopStrings(StoppingCriteria):
    """Stops each row of transformers' `generate` once the text after its prompt contains a stop string.

    decode: ids of new tokens -> text.  prompt_length: tokens of each row before the new ones.
    Transformers' `StopStringCriteria` stopped 60,000 random rows at the same tokens. It also matches a stop string that begins in
    the prompt, and misses one that spans a special token, which the text omits.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str], prompt_length: int) -> None:
        self._decode, self._stops, self._start = decode, tuple(stops), prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Whether each row of ids (B, T) has ended."""
        texts = [self._decode(row) for row in input_ids[:, self._start :].tolist()]
        return torch.tensor([first_stop(text, self._stops) is not None for text in texts], device=input_ids.device)
