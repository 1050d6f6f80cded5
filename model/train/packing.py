"""Packing: several conversations about one image in one row, after one copy of the image's prefix.

A token attends to the prefix and to earlier tokens of its own conversation; positions restart after the prefix. So each
conversation is processed exactly as if it were alone, and the image is processed once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from roi_agent.model.errors import CheckpointMismatch
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor

PADDING = -1  # the segment of padding; 0 is the prefix, 1 and up are conversations


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation after the prefix.  ids, labels: (T).  regions: of each region token, an index into those of the sample."""

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
    """The ids shared by all conversations: up to the image tokens and the token that closes them.

    Error: CheckpointMismatch for a template without an image.
    """
    ids, _ = processor.encode(processor.render([], []))
    image, closing = processor.tokenizer.convert_tokens_to_ids(["<im_patch>", "<im_end>"])
    if image not in ids:
        raise CheckpointMismatch("the prompt contains no image tokens", do="use the processor of the model")
    end = len(ids) - ids[::-1].index(image)
    return ids[: end + (ids[end : end + 1] == [closing])]


def pack(prefix: Sequence[int], conversations: Iterable[Conversation], *, length: int) -> tuple[list[Row], list[str]]:
    """Pack conversations into rows of at most `length` tokens, each into the first row with room.

    Returns the rows, and the ids of records that are too long for any row, for the caller to report.
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
    """Segments (R, T) -> the attention mask, bool (R, 1, T, T), in transformers' layout.

    Padding attends to the prefix, so that no softmax is empty.
    """
    length = segments.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    query, key = segments[:, :, None], segments[:, None, :]
    return (before & (key != PADDING) & ((key == 0) | (key == query)))[:, None]


def padded(rows: Sequence[Row], *, pad_id: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids, labels, positions and segments of rows, each (R, T), padded on the right."""
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
    """A row of the prefix alone."""
    return _row(prefix, [])


def _row(prefix: Sequence[int], conversations: Sequence[Conversation]) -> Row:
    ids, labels = list(prefix), [IGNORE] * len(prefix)
    positions, segments = list(range(len(prefix))), [0] * len(prefix)
    regions: list[int] = []
    for number, each in enumerate(conversations, start=1):
        # The token before a conversation in the row is not its context.
        assert not each.labels or each.labels[0] == IGNORE, "a conversation cannot begin with an answer"
        ids += each.ids
        labels += each.labels
        positions += range(len(prefix), len(prefix) + len(each.ids))
        segments += [number] * len(each.ids)
        regions += each.regions
    return Row(ids, labels, positions, segments, regions)
