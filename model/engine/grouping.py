"""Which questions go through the model in one pass; knows lengths, and nothing of tensors.

Every row of a pass is padded to the longest, so what is computed is rows times the longest, and not what was asked.
"""

from collections.abc import Sequence

PREFILL_TOKENS = 4096  # computed between two steps, pads included: more would keep those waiting that are being answered
_SCORES = 1 << 28  # of attention, in one layer of one pass: 1 GiB in float32
_PADS = 512  # in a pass of rows that are not of like length


def similar_lengths(lengths: Sequence[int]) -> bool:
    """Whether rows of these lengths, in tokens, may be one pass: it pads each to twice its length at most, or little in all."""
    longest = max(lengths)
    return longest <= 2 * min(lengths) or longest * len(lengths) - sum(lengths) <= _PADS


def group_by_length(lengths: Sequence[int], *, prefix: int, heads: int) -> list[list[int]]:
    """The passes in which questions are read, as indices, short ones first.

    lengths: of the questions beyond their images' prefix, which has `prefix` tokens.  heads: of the model's attention.
    """
    made: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[index]
        group = [*made[-1], index] if made else [index]
        small = len(group) * longest <= PREFILL_TOKENS and len(group) * heads * longest * (prefix + longest) <= _SCORES
        if made and small and similar_lengths([lengths[each] for each in group]):
            made[-1] = group
        else:
            made.append([index])
    return made


def padded_tokens(lengths: Sequence[int], *, prefix: int, heads: int) -> int:
    """Tokens that reading these questions computes, pads included."""
    return sum(len(group) * lengths[group[-1]] for group in group_by_length(lengths, prefix=prefix, heads=heads))
