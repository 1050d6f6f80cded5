"""Which questions go through the model in one pass: a long one pads no short one, and what is computed is bounded."""

import pytest

from roi_agent.model.engine import Engine, Request
from roi_agent.model.engine.grouping import PREFILL_TOKENS, group_by_length, padded_tokens, similar_lengths
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage
from tests.engine.asked import Gate, Watched, ids_of, request

SHAPE = {"prefix": 260, "heads": 32}  # of the published 7B


@pytest.mark.parametrize(
    ("lengths", "passes"),
    [
        ([], []),
        ([1532], [[0]]),
        ([20] * 32, [list(range(32))]),
        ([8, 30, 19], [[0, 2, 1]]),  # of unlike length, but few
        ([20, 1532, 24], [[0, 2], [1]]),
        ([1532, 1400, 1532], [[1, 0], [2]]),  # of like length, but more than one pass may compute
        ([400, 30, 30, 30], [[1, 2, 3], [0]]),
        ([9000, 9000], [[0], [1]]),
    ],
)
def test_questions_of_like_length_are_read_together(lengths: list[int], passes: list[list[int]]) -> None:
    assert group_by_length(lengths, **SHAPE) == passes


def test_what_is_computed_counts_the_pads() -> None:
    assert padded_tokens([20] * 31 + [1532], **SHAPE) == 31 * 20 + 1532
    assert padded_tokens([8, 30], **SHAPE) == 60
    assert padded_tokens([], **SHAPE) == 0


def test_attention_of_one_pass_is_bounded() -> None:
    for length in (100, 300, 500, 900, 1900):
        for group in group_by_length([length] * 40, **SHAPE):
            assert len(group) * length <= PREFILL_TOKENS
            assert len(group) * 32 * length * (260 + length) <= 2**28 or len(group) == 1


def test_rows_of_unlike_length_take_their_steps_apart() -> None:
    assert similar_lengths([1532]) and similar_lengths([20, 40]) and similar_lengths([1532, 800])
    assert not similar_lengths([1532, 30]) and not similar_lengths([1532, 1532, 1532, 30])


@pytest.mark.parametrize("place", [0, 5, 16])
def test_a_long_question_neither_pads_short_ones_nor_keeps_them_waiting(
    nano: LocalRegionModel,
    scene: LoadedImage,
    regions: tuple[Region, ...],
    requests: list[Request],
    expected: list[list[int]],
    place: int,
) -> None:
    passes: list[tuple[str, int]] = []
    gate = Gate("prefill")

    def seen(what: str, rows: int) -> None:
        gate(what, rows)
        passes.append((what, rows))

    long = request(nano, scene, regions, "What is <region1>? " + "word " * 370)
    assert len(long.ids) > 1500
    alone = ids_of(nano.engine.submit(long).result())
    engine = Engine(Watched(nano, seen))
    pending = engine.submit_all([*requests[:place], long, *requests[place:]])
    gate.open.set()
    answers = [ids_of(each.result()) for each in pending]
    assert answers == [*expected[:place], alone, *expected[place:]]
    assert passes[1:3] == [("prefill", 16), ("prefill", 1)] and ("step", 17) not in passes
    assert all(rows <= 16 for what, rows in passes)
