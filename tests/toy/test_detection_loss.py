"""The detector's loss on cases made by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from roi_agent.model.toy.samples.phrases import PromptedBatch
from roi_agent.model.toy.train.detection_loss import cell_centres, dense_targets, matched, set_loss

STAR, DISC = [0.25, 0.25, 0.16, 0.16], [0.75, 0.75, 0.4, 0.2]


def batch(boxes: list[list[float]], tokens: list[list[int]]) -> PromptedBatch:
    """One image and a prompt of five tokens, the last one padding."""
    return PromptedBatch(
        pixels=torch.zeros(1, 3, 8, 8),
        ids=torch.tensor([[101, 1030, 1031, 1012, 0]]),
        mask=torch.tensor([[1, 1, 1, 1, 0]]),
        boxes=[torch.tensor(boxes).view(-1, 4)],
        tokens=[torch.tensor(tokens, dtype=torch.bool).view(-1, 5)],
    )


BOTH = batch([STAR, DISC], [[0, 1, 0, 0, 0], [0, 1, 1, 0, 0]])


def perfect(sample: PromptedBatch, boxes: Tensor) -> Tensor:
    """Logits of +-20 that say exactly what each box is; -inf for padding, as the library gives."""
    logits = torch.full((1, boxes.shape[1], 5), -20.0)
    for query, box in enumerate(boxes[0]):
        for truth, tokens in zip(sample.boxes[0], sample.tokens[0], strict=True):
            if torch.allclose(box, truth):
                logits[0, query, tokens] = 20.0
    return logits.masked_fill(~sample.mask.bool()[:, None], float("-inf"))


def test_each_box_is_matched_to_the_query_that_fits_it_in_words_and_place() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.1, 0.1], DISC, STAR, STAR]])
    logits = perfect(BOTH, boxes)
    logits[0, 2] = -logits[0, 2].clamp(min=-20)  # in place, but says the wrong words
    ((queries, things),) = matched(logits, boxes, BOTH.mask.bool(), BOTH)
    assert dict(zip(things.tolist(), queries.tolist(), strict=True)) == {0: 3, 1: 1}


def test_what_is_all_right_costs_nothing() -> None:
    boxes = torch.tensor([[DISC, [0.5, 0.1, 0.2, 0.1], STAR]])
    logits = perfect(BOTH, boxes)
    places = matched(logits, boxes, BOTH.mask.bool(), BOTH)
    assert set_loss(logits, boxes, BOTH.mask.bool(), BOTH, places).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("token", [0, 1, 2, 3])
def test_a_score_for_a_token_that_does_not_hold_costs_wherever_it_stands(token: int) -> None:
    boxes = torch.tensor([[DISC, [0.5, 0.1, 0.2, 0.1], STAR]])
    logits = perfect(BOTH, boxes)
    places = matched(logits, boxes, BOTH.mask.bool(), BOTH)
    wrong = logits.clone()
    wrong[0, 1, token] = 5.0  # query 1 stands for nothing
    expected = 0.75 * torch.tensor(5.0).sigmoid() ** 2 * torch.nn.functional.softplus(torch.tensor(5.0)) / 2
    assert set_loss(wrong, boxes, BOTH.mask.bool(), BOTH, places).item() == pytest.approx(expected.item(), rel=1e-4)


def test_padding_costs_nothing() -> None:
    boxes = torch.tensor([[DISC, STAR]])
    logits = perfect(BOTH, boxes)
    places = matched(logits, boxes, BOTH.mask.bool(), BOTH)
    logits[0, :, 4] = 20.0
    assert set_loss(logits, boxes, BOTH.mask.bool(), BOTH, places).item() == pytest.approx(0, abs=1e-5)


def test_a_box_costs_by_its_distance_and_overlap() -> None:
    one = batch([STAR], [[0, 1, 0, 0, 0]])
    moved = torch.tensor([[[0.25 + 0.08, 0.25, 0.16, 0.16]]])  # by half its width: a third is shared
    logits = perfect(one, torch.tensor([[STAR]]))
    places = matched(logits, moved, one.mask.bool(), one)
    assert set_loss(logits, moved, one.mask.bool(), one, places).item() == pytest.approx(5 * 0.08 + 2 * (1 - 1 / 3), abs=1e-4)


def test_a_prompt_that_is_true_of_nothing_asks_for_low_scores_only() -> None:
    none = batch([], [])
    boxes = torch.tensor([[DISC, STAR]])
    places = matched(torch.zeros(1, 2, 5), boxes, none.mask.bool(), none)
    assert [len(each) for each in places[0]] == [0, 0]
    assert set_loss(torch.zeros(1, 2, 5), boxes, none.mask.bool(), none, places) > 1
    assert set_loss(torch.full((1, 2, 5), -20.0), boxes, none.mask.bool(), none, places).item() == pytest.approx(0, abs=1e-5)


def test_centres_of_cells_are_those_of_maps_of_half_the_side() -> None:
    centres = cell_centres(4 * 4 + 2 * 2, num_maps=2)
    assert centres[0].tolist() == [0.125, 0.125, 0]
    assert centres[1].tolist() == [0.375, 0.125, 0]
    assert centres[16:].tolist() == [[0.25, 0.25, 1], [0.75, 0.25, 1], [0.25, 0.75, 1], [0.75, 0.75, 1]]


def test_cells_near_the_middle_of_a_thing_belong_to_it_and_all_others_to_nothing() -> None:
    centres = cell_centres(16 * 16 + 8 * 8, num_maps=2)
    ((cells, boxes),) = dense_targets(BOTH, centres)
    for cell, box in zip(cells, boxes, strict=True):
        x, y, width, height = BOTH.boxes[0][box].tolist()
        assert abs(centres[cell, 0] - x) <= 0.25 * width + 1 / 16
        assert abs(centres[cell, 1] - y) <= 0.25 * height + 1 / 16
        assert centres[cell, 2] == (1 if width >= 0.3 else 0), "large things belong to the coarser map"
    assert set(boxes.tolist()) == {0, 1}


def test_a_thing_between_all_middles_still_has_its_nearest_cell() -> None:
    thin = replace(BOTH, boxes=[torch.tensor([[0.5, 0.5, 0.2, 0.01]])], tokens=[torch.ones(1, 5, dtype=torch.bool)])
    ((cells, boxes),) = dense_targets(thin, cell_centres(16 * 16 + 8 * 8, num_maps=2))
    assert len(cells) >= 1
    assert boxes.tolist() == [0] * len(cells)


def test_two_things_in_one_place_share_their_cells_by_nearness() -> None:
    near = batch([[0.5, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2]], [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0]])
    ((cells, boxes),) = dense_targets(near, cell_centres(16 * 16 + 8 * 8, num_maps=2))
    assert len(set(cells.tolist())) == len(cells)
    assert set(boxes.tolist()) == {0, 1}


def test_images_without_anything_have_no_cells() -> None:
    ((cells, boxes),) = dense_targets(batch([], []), cell_centres(5, num_maps=2))
    assert len(cells) == len(boxes) == 0
