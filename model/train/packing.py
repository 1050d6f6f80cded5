"""Several conversations about one image in one row: the image's prefix once, then each conversation, blind to the others.

A token sees the prefix and what stands before it in its own conversation; positions start again after the prefix. So each
conversation is read exactly as if it stood alone, and the image is read once for all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from roi_agent.model.errors import CheckpointMismatch
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor

PADDING = -1  # the segment of what fills a row up; 0 is the prefix, 1 and on are conversations


@dataclass(frozen=True, slots=True)
class Conversation:
    """What follows the prefix.  ids, labels: (T).  regions: what stands behind each region token, as the sample counts it."""

    record_id: str
    ids: list[int]
    labels: list[int]
    regions: list[int]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the language model.  ids, labels, positions, segments: (T).  regions: as in `Conversation`, in order."""

    ids: list[int]
    labels: list[int]
    positions: list[int]
    segments: list[int]
    regions: list[int]


def prefix_ids(processor: GPT4RoIProcessor) -> list[int]:
    """The ids with which every conversation begins: up to the image and the token that closes it.

    Error: CheckpointMismatch where the template shows no image.
    """
    ids, _ = processor.encode(processor.render([], []))
    image, closing = processor.tokenizer.convert_tokens_to_ids(["<im_patch>", "<im_end>"])
    if image not in ids:
        raise CheckpointMismatch("the prompt holds no image tokens", do="use the processor of the model")
    end = len(ids) - ids[::-1].index(image)
    return ids[: end + (ids[end : end + 1] == [closing])]


def pack(prefix: Sequence[int], conversations: Iterable[Conversation], *, length: int) -> tuple[list[Row], list[str]]:
    """Conversations -> rows of `length` tokens at most, each in the first row with room.

    Returns the rows, and the ids of records that fit in none: left out, for the caller to report.
    """
    rows: list[list[Conversation]] = []
    room: list[int] = []
    left_out = []
    for each in conversations:
        if len(prefix) + len(each.ids) > length:
            left_out.append(each.record_id)
            continue
        row = next((index for index, free in enumerate(room) if free >= len(each.ids)), None)
        if row is None:
            row = len(rows)
            rows.append([])
            room.append(length - len(prefix))
        rows[row].append(each)
        room[row] -= len(each.ids)
    return [_row(prefix, row) for row in rows], left_out


def attention(segments: Tensor) -> Tensor:
    """Segments (R, T) -> which keys each token sees, bool (R, 1, T, T), as transformers' attention takes it.

    What fills a row up sees the prefix, so that no softmax is over nothing.
    """
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    query, key = segments[:, :, None], segments[:, None, :]
    return (before & (key != PADDING) & ((key == 0) | (key == query)))[:, None]


def padded(rows: Sequence[Row], *, pad_id: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids, labels, positions and segments of rows, each (R, T), filled up on the right."""
    length = max((len(row.ids) for row in rows), default=0)

    def table(lists: Iterable[list[int]], fill: int) -> Tensor:
        return torch.tensor([each + [fill] * (length - len(each)) for each in lists], dtype=torch.long).reshape(-1, length)

    return (
        table((row.ids for row in rows), pad_id),
        table((row.labels for row in rows), IGNORE),
        table((row.positions for row in rows), 0),
        table((row.segments for row in rows), PADDING),
    )


def empty_row(prefix: Sequence[int]) -> Row:
    """A row that shows the image and asks nothing."""
    return _row(prefix, [])


def _row(prefix: Sequence[int], conversations: Sequence[Conversation]) -> Row:
    ids, labels = list(prefix), [IGNORE] * len(prefix)
    positions, segments = list(range(len(prefix))), [0] * len(prefix)
    regions: list[int] = []
    for number, each in enumerate(conversations, start=1):
        # What stands before a conversation's first token in the row is not what it follows.
        assert not each.labels or each.labels[0] == IGNORE, "an answer cannot stand first"
        ids += each.ids
        labels += each.labels
        positions += range(len(prefix), len(prefix) + len(each.ids))
        segments += [number] * len(each.ids)
        regions += each.regions
    return Row(ids, labels, positions, segments, regions)
