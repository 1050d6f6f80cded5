"""Phrases in a detector's prompt: joined, found again by their tokens, and scored."""

import pytest
import torch

from roi_agent.model.grounding import END, START, STOP, join_phrases, phrase_scores, phrase_spans


@pytest.mark.parametrize(
    ("phrases", "prompt"),
    [
        ([], ""),
        (["star"], "star ."),
        (["Red  Star", "an umbrella"], "red star . an umbrella ."),
        (["st. bernard", "what?"], "st bernard . what ."),
        ([" star. "], "star ."),
    ],
)
def test_phrases_are_joined_so_that_none_is_parted(phrases: list[str], prompt: str) -> None:
    assert join_phrases(phrases) == prompt


@pytest.mark.parametrize(
    ("ids", "spans"),
    [
        ([START, END], []),
        ([START, 2000, STOP, END], [(1, 2)]),
        ([START, 2000, 2001, STOP, 2002, STOP, END, 0, 0], [(1, 3), (4, 5)]),
        ([START, STOP, STOP, 2000, END], [(3, 4)]),
        ([2000, 2001], [(0, 2)]),
        ([], []),
    ],
)
def test_spans_are_the_tokens_between_delimiters(ids: list[int], spans: list[tuple[int, int]]) -> None:
    assert phrase_spans(ids) == spans


def test_a_phrase_scores_as_its_best_token() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0, 9.0, -3.0], [0.0, -5.0, 0.0, 9.0, 3.0]])
    scores = phrase_scores(logits, [(1, 3), (4, 5)])
    assert torch.allclose(scores, torch.tensor([[2.0, -3.0], [0.0, 3.0]]).sigmoid())
    assert phrase_scores(logits, []).shape == (2, 0)
