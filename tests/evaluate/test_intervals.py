"""Bootstrap intervals: they hold the truth as often as they say, and know that questions of one image belong together."""

import numpy as np
import pytest

from roi_agent.model.evaluate.intervals import interval, ratio, share


def answers(rng: np.random.Generator, images: int, each: int, *, alike: bool) -> tuple[np.ndarray, list[str]]:
    """Right and wrong answers of which 0.7 are right in truth; alike: all of an image are right together or wrong together."""
    draws = rng.random((images, 1 if alike else each)) < 0.7
    right = np.repeat(draws, each, axis=1).ravel() if alike else draws.ravel()
    names = [f"{number}.png" for number in range(images) for _ in range(each)]
    return np.stack([right, np.ones(len(right))], axis=1).astype(np.float64), names


@pytest.mark.parametrize("alike", [False, True])
def test_the_interval_holds_the_truth_in_95_of_100_data_sets(alike: bool) -> None:
    rng = np.random.default_rng(1)
    found = [interval(*answers(rng, 60, 4, alike=alike), share, seed=number) for number in range(300)]
    held = sum(each.low <= 0.7 <= each.high for each in found) / len(found)
    assert 0.91 <= held <= 0.985  # four standard errors of 300 data sets, and what the bootstrap of 60 images loses


def test_answers_that_agree_within_an_image_make_the_interval_wider() -> None:
    statistics, names = answers(np.random.default_rng(2), 100, 5, alike=True)
    together = interval(statistics, names, share)
    apart = interval(statistics, [str(number) for number in range(len(names))], share)
    assert together.value == apart.value
    assert 1.8 < (together.high - together.low) / (apart.high - apart.low) < 2.7  # the square root of 5


def test_the_normal_interval_of_many_independent_answers_is_met() -> None:
    statistics, names = answers(np.random.default_rng(3), 2000, 1, alike=False)
    found = interval(statistics, names, share)
    error = 1.96 * (found.value * (1 - found.value) / 2000) ** 0.5
    assert (found.high - found.value, found.value - found.low) == pytest.approx((error, error), rel=0.12)


@pytest.mark.parametrize(
    ("right", "expected"), [([], (0, 0, 0)), ([1], (1, 1, 1)), ([0], (0, 0, 0)), ([1, 1, 1], (1, 1, 1))], ids=str
)
def test_no_question_one_image_and_no_spread(right: list[int], expected: tuple[float, float, float]) -> None:
    statistics = np.array([[each, 1] for each in right], dtype=np.float64).reshape(-1, 2)
    found = interval(statistics, [str(number) for number in range(len(right))], share)
    assert (found.value, found.low, found.high) == expected


def test_a_seed_repeats_an_interval() -> None:
    statistics, names = answers(np.random.default_rng(4), 40, 2, alike=False)
    assert interval(statistics, names, share, seed=5) == interval(statistics, names, share, seed=5)
    assert len({interval(statistics, names, share, seed=seed) for seed in range(5, 15)}) > 1


def test_a_share_of_nothing_is_nothing() -> None:
    assert ratio(np.array([1.0, 2.0]), np.array([0.0, 4.0])).tolist() == [0.0, 0.5]
