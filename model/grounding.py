"""Phrases in the prompt of a Grounding DINO: how they are joined, where their tokens stand, and a box's score for each."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Span = tuple[int, int]  # first token and the one after the last

PADDING, START, END, STOP, QUESTION_MARK = 0, 101, 102, 1012, 1029  # BERT's ids, fixed in the architecture
DELIMITERS = frozenset((PADDING, START, END, STOP, QUESTION_MARK))


def join_phrases(phrases: Iterable[str]) -> str:
    """Phrases -> "red star . umbrella ."; in lower case, and with nothing in them that would part one in two.

    The last one needs its full stop too: without it, its words would not see one another.
    """
    cleaned = (" ".join(re.sub(r"[.?]", " ", phrase).lower().split()) for phrase in phrases)
    return " ".join(f"{phrase} ." for phrase in cleaned)


def phrase_spans(ids: Sequence[int]) -> list[Span]:
    """Where the tokens of each phrase stand in a prompt, in order; a phrase without any token has no span."""
    spans: list[Span] = []
    start = None
    for position, token in enumerate([*ids, END]):
        if token in DELIMITERS:
            if start is not None:
                spans.append((start, position))
            start = None
        elif start is None:
            start = position
    return spans


def phrase_scores(logits: Tensor, spans: Sequence[Span]) -> Tensor:
    """How well each box fits each phrase: the largest sigmoid among the phrase's tokens, as the published models are read.

    logits: (..., T) of each box and token.  Returns (..., P) in [0, 1], one for each span.
    """
    if not spans:
        return logits.new_zeros(*logits.shape[:-1], 0)
    return torch.stack([logits[..., start:stop].amax(-1) for start, stop in spans], -1).sigmoid()
