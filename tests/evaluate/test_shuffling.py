"""Shuffled boxes lie elsewhere, and the same elsewhere however the samples are shared out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.evaluate.sample import SHUFFLED, Sample
from roi_agent.model.evaluate.shuffling import shuffle_boxes
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn

SIZE = (100, 80)


def record(boxes: list[Box], name: str = "a") -> Record:
    regions = tuple(Region(f"region{number}", box) for number, box in enumerate(boxes, start=1))
    return Record(name, "1.png", SIZE, regions, (RecordTurn("What?", "that"),), "ours", "CC0-1.0")


def moved(records: list[Record], seed: int = 0) -> list[tuple[Box, ...]]:
    samples = [Sample(each.id, 0, "part", each.image, (Turn("What?"),), each.regions, "that") for each in records]
    found = list(shuffle_boxes(samples, records, seed=seed))
    assert all(each.boxes == SHUFFLED and each.key != sample.key for each, sample in zip(found, samples, strict=True))
    return [tuple(region.box for region in each.regions) for each in found]


boxes = st.builds(
    lambda x, y, w, h: Box(x, y, min(x + w, 100), min(y + h, 80)),
    st.integers(0, 99), st.integers(0, 79), st.integers(1, 100), st.integers(1, 80),
)  # fmt: skip


@given(st.lists(boxes, min_size=1, max_size=6), st.integers(0, 9))
def test_no_region_stays_where_it_is_and_none_leaves_the_image(given_boxes: list[Box], seed: int) -> None:
    (elsewhere,) = moved([record(given_boxes)], seed)
    for before, after in zip(given_boxes, elsewhere, strict=True):
        assert after != before
        after.checked_within(SIZE)


def test_regions_take_each_others_boxes() -> None:
    own = [Box(0, 0, 10, 10), Box(20, 0, 30, 10), Box(40, 0, 50, 10)]
    (elsewhere,) = moved([record(own)])
    assert set(elsewhere) == set(own)


def test_a_region_alone_takes_one_of_another_record_of_its_image() -> None:
    one, other = Box(0, 0, 10, 10), Box(20, 0, 30, 10)
    assert moved([record([one], "a"), record([other], "b")]) == [(other,), (one,)]


def test_a_box_alone_in_its_image_keeps_its_size_and_a_whole_image_shrinks() -> None:
    ((box,),) = moved([record([Box(10, 10, 30, 40)])])
    assert (box.width, box.height) == pytest.approx((20, 30))
    ((half,),) = moved([record([Box(0, 0, 100, 80)])])
    assert (half.width, half.height) == pytest.approx((50, 40))


def test_what_is_asked_changes_with_every_part_of_it_and_with_nothing_else() -> None:
    region = Region("region1", Box(0, 0, 10, 10))
    sample = Sample("a", 0, "part", "1.png", (Turn("What is <region1>?"),), (region,), "that")
    others = [
        replace(sample, image="2.png"),
        replace(sample, turns=(Turn("Who is <region1>?"),)),
        replace(sample, turns=(Turn("Hm?", "yes"), *sample.turns)),
        replace(sample, regions=(Region("region1", Box(0, 0, 10, 11)),)),
        replace(sample, options=("this", "that")),
        replace(sample, new_tokens=5),
    ]
    assert len({each.digest() for each in (sample, *others)}) == 7
    assert replace(sample, truth="this", references=("this",)).digest() == sample.digest()
