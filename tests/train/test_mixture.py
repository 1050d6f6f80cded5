"""Mixtures of record sets: what is seen how often, in which order, and by which process."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from roi_agent.model.errors import DataNotFound, InvalidSetting
from roi_agent.model.train.mixture import Mixture, open_parts
from roi_agent.model.train.reading import ProcessSampler
from tests.training_sets import write_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder, "one-train", scenes=5, each=3)
    write_set(folder, "other-train", scenes=4, first=100, each=2)
    (folder / "empty-train" / "images").mkdir(parents=True)
    write_set(folder, "none-train", scenes=0)
    return folder


@pytest.mark.parametrize(("most", "sizes"), [(1, [1] * 15), (2, [2, 1] * 5), (3, [3] * 5), (8, [3] * 5)])
def test_neighbouring_records_of_an_image_are_one_sample_up_to_a_limit(root: Path, most: int, sizes: list[int]) -> None:
    (part,) = open_parts(root, {"one-train": 1}, conversations=most)
    samples = [part.read(index) for index in range(part.num_samples)]
    assert [len(sample) for sample in samples] == sizes
    assert all(len({record.image for record in sample}) == 1 for sample in samples)
    assert [record.id for sample in samples for record in sample] == [record.id for record in part.records]


@pytest.mark.parametrize(
    ("weights", "epochs", "counts"),
    [
        ({"one-train": 1}, 1, [5]),
        ({"one-train": 2}, 1, [10]),
        ({"one-train": 1, "other-train": 1}, 2, [10, 8]),
        ({"one-train": 0.4, "other-train": 1.5}, 1, [2, 6]),
        ({"one-train": 1, "none-train": 1}, 1, [5]),
    ],
)
def test_a_weight_is_how_often_a_sample_is_seen_in_an_epoch(
    root: Path, weights: dict[str, float], epochs: int, counts: list[int]
) -> None:
    parts = open_parts(root, weights, conversations=3)
    mixture = Mixture.make(parts, epochs=epochs, batch=1, seed=0)
    found = Counter(mixture.order[:, 0].tolist())
    assert [found[index] for index in range(len(counts))] == counts
    each = Counter(map(tuple, mixture.order.tolist()))
    assert max(each.values()) - min(each.values()) <= 1, "no sample is seen twice more than another of its part"


def test_the_order_follows_from_the_seed_and_the_last_batch_is_full(root: Path) -> None:
    parts = open_parts(root, {"one-train": 1, "other-train": 1}, conversations=3)
    one, again, other = (Mixture.make(parts, epochs=2, batch=4, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.order, again.order) and not np.array_equal(one.order, other.order)
    assert len(one) == 20, "18 samples fill four batches of 4 and half of a fifth"
    assert np.array_equal(one.order[18:], one.order[:2])
    assert not np.array_equal(one.order[:9], one.order[9:18]), "epochs differ"


@pytest.mark.parametrize(("processes", "micro_batch"), [(1, 8), (1, 2), (2, 4), (2, 1), (4, 2), (8, 1)])
def test_processes_share_every_batch_and_going_on_is_an_index(processes: int, micro_batch: int) -> None:
    def seen(first: int) -> list[list[int]]:
        """Positions by step, over all processes."""
        shares = [
            list(ProcessSampler(steps=range(first, 3), batch=8, micro_batch=micro_batch, processes=processes, process=process))
            for process in range(processes)
        ]
        accumulation = 8 // processes // micro_batch
        assert {len(micro) for share in shares for micro in share} == {micro_batch}
        return [
            sorted(p for share in shares for micro in share[step * accumulation : (step + 1) * accumulation] for p in micro)
            for step in range(3 - first)
        ]

    assert seen(0) == [list(range(8)), list(range(8, 16)), list(range(16, 24))]
    assert seen(2) == seen(0)[2:]


def test_a_missing_set_is_named_with_the_command_that_makes_it(root: Path) -> None:
    with pytest.raises(DataNotFound, match=r"coco-train.*roi-agent data convert coco .*coco-train --split train"):
        open_parts(root, {"one-train": 1, "coco-train": 1}, conversations=1)
    with pytest.raises(DataNotFound, match="empty-train"):
        open_parts(root, {"empty-train": 1}, conversations=1)
    with pytest.raises(InvalidSetting, match="no data set"):
        open_parts(root, {}, conversations=1)


def test_sets_without_any_record_cannot_be_trained_on(root: Path) -> None:
    with pytest.raises(DataNotFound, match="no records"):
        Mixture.make(open_parts(root, {"none-train": 1}, conversations=1), epochs=1, batch=1, seed=0)
