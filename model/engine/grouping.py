"""Grouping of questions into passes, by length alone.

Every row of a pass is padded to the longest, so a pass computes rows times the longest length.
"""

from collections.abc import Sequence

PREFILL_TOKENS = 4096  # per step, padding included: more would delay running questions
_SCORES = 1 << 28  # attention scores in one layer of one pass: 1 GiB in float32
_PADS = 512  # padding tokens allowed in a pass of rows that differ in length


def similar_lengths(lengths: Sequence[int]) -> bool:
    """Whether rows of these lengths, in tokens, may share a pass: each at least doubles, or the padding is small."""
    longest = max(lengths)
    return longest <= 2 * min(lengths) or longest * len(lengths) - sum(lengths) <= _PADS


def group_by_length(lengths: Sequence[int], *, prefix: int, heads: int) -> list[list[int]]:
    """Passes that prefill questions, as lists of indices, shortest first.

    lengths: tokens of the questions after the prefix of `prefix` tokens.  heads: attention heads of the model.
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
    """Tokens computed by the prefill of these questions, padding included."""
    return sum(len(group) * lengths[group[-1]] for group in group_by_length(lengths, prefix=prefix, heads=heads))
