"""Visitors of the page and their limits, and the images that they open."""

import re
from pathlib import Path

import pytest

from roi_agent.model.errors import InvalidSetting, UnknownImage
from roi_agent.settings import ServerSettings
from roi_agent.ui import drawing
from roi_agent.ui.actions import SCENES, Actions
from roi_agent.ui.visitors import Visitors, new_name
from roi_agent.ui.work import Work
from tests.ui.visit import NAME, UMBRELLA, drawn, last, names, opened


def test_visitors_are_forgotten_after_a_time_and_beyond_a_number(work: Work) -> None:
    now = [0.0]
    visitors = Visitors(most=2, keep_s=10, image_bytes=1 << 30, clock=lambda: now[0])
    first, second, third = (new_name() for _ in range(3))
    for name in (first, second):
        visitors.put(name, work)
    now[0] = 5
    assert visitors.find(first) is work  # and is now the one who was here last
    visitors.put(third, work)
    assert visitors.find(second) is None and len(visitors) == 2
    now[0] = 14
    assert visitors.find(third) is work
    now[0] = 15.5
    assert visitors.find(first) is None and len(visitors) == 1
    now[0] = 99
    assert len(visitors) == 0
    with pytest.raises(UnknownImage, match="no image is open; open one"):
        visitors.get(third)


def test_images_take_a_limited_memory_and_the_newest_stays(work: Work) -> None:
    visitors = Visitors(most=10, keep_s=10, image_bytes=2 * work.image_bytes)
    kept = [new_name() for _ in range(3)]
    for name in kept:
        visitors.put(name, work)
    assert [visitors.find(name) is not None for name in kept] == [False, True, True]
    tight = Visitors(most=10, keep_s=10, image_bytes=1)
    tight.put(kept[0], work)
    assert tight.find(kept[0]) is work


@pytest.mark.parametrize("name", [None, "", "me", "0" * 31, "G" * 32, 7, ["0" * 32], "../" * 10])
def test_a_name_that_we_did_not_give_is_replaced(actions: Actions, visitors: Visitors, name: object) -> None:
    seen = actions.open_scene(name, 0)
    assert re.fullmatch("[0-9a-f]{32}", seen.visitor) and visitors.find(name) is None
    assert visitors.find(seen.visitor) is seen.work is not None


def test_limits_are_numbers_above_zero() -> None:
    with pytest.raises(InvalidSetting, match="visitors is 0"):
        ServerSettings(visitors=0)
    with pytest.raises(InvalidSetting, match="visitor_s is -1"):
        ServerSettings(visitor_s=-1)


def test_visitors_keep_their_own_work(actions: Actions) -> None:
    one, other = opened(actions), opened(actions, "1" * 32, 1)
    drawing.edit(one, drawn(UMBRELLA))
    assert names(one) == ["region1"] and names(other) == []
    list(actions.talk("1" * 32, "What is region1?", "model"))
    assert "unknown region" in last(other) and one.messages == []


@pytest.mark.parametrize("data", [b"", b"no image", SCENES[0].read_bytes()[:300], b"GIF89a"])
def test_a_broken_file_is_refused_and_the_earlier_image_kept(
    actions: Actions, visitors: Visitors, work: Work, data: bytes
) -> None:
    seen = actions.open_file(NAME, visitors.send(NAME, data))
    assert seen.work is work and seen.status is not None and "<b>image_unreadable</b>" in seen.status


@pytest.mark.parametrize("handle", [None, "", "0" * 32, str(SCENES[0]), "/proc/self/environ", ["a"], {"path": "a"}])
def test_what_was_not_sent_is_refused_and_the_earlier_image_kept(
    actions: Actions, visitors: Visitors, work: Work, handle: object
) -> None:
    visitors.send(NAME, SCENES[0].read_bytes())
    seen = actions.open_file(NAME, handle)
    assert seen.work is work and seen.status is not None and "<b>unknown_image</b>" in seen.status


def test_the_scenes_are_those_of_the_examples() -> None:
    examples = Path(__file__).parents[2] / "examples"
    assert [each.read_bytes() for each in SCENES] == [(examples / each.name).read_bytes() for each in SCENES]
