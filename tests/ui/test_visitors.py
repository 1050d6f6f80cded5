"""Visitors of the page and their limits, and the images that they open."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.errors import InvalidSetting, PageFull, UnknownImage
from roi_agent.settings import ServerSettings
from roi_agent.tools.models import Models
from roi_agent.ui import drawing
from roi_agent.ui.actions import SCENES, Actions
from roi_agent.ui.visitors import COOKIE, Visitors, new_name
from roi_agent.ui.work import Work
from tests.ui.stranger import Stranger, served
from tests.ui.visit import NAME, UMBRELLA, drawn, last, names, opened


def test_who_was_here_lately_is_not_displaced_by_newcomers(work: Work) -> None:
    now = [0.0]
    visitors = visitors_of(max_visitors=2, idle_s=10, keep_s=100, clock=lambda: now[0])
    first, second, third, fourth = (new_name() for _ in range(4))
    for name in (first, second):
        visitors.put(name, work)
    now[0] = 8
    assert visitors.find(first) is work
    for _ in range(100):
        with pytest.raises(PageFull, match="reached its limit of visitors or pictures; try again in a few minutes"):
            visitors.put(new_name(), work)
    now[0] = 12
    visitors.put(third, work)  # the second was idle
    assert visitors.find(second) is None and visitors.find(first) is work and len(visitors) == 2
    with pytest.raises(PageFull):
        visitors.put(fourth, work)
    visitors.put(first, work)  # who is here may open another image


def test_visitors_are_forgotten_after_a_time(work: Work) -> None:
    now = [0.0]
    visitors = visitors_of(keep_s=10, clock=lambda: now[0])
    first, second = new_name(), new_name()
    visitors.put(first, work)
    visitors.send(second, b"x")
    now[0] = 9
    assert visitors.find(first) is work
    now[0] = 12
    assert visitors.find(first) is work and len(visitors) == 1
    now[0] = 99
    assert len(visitors) == 0
    with pytest.raises(UnknownImage, match="no image is open; open one"):
        visitors.get(first)


def test_images_and_files_of_all_take_a_limited_memory(work: Work) -> None:
    now = [0.0]
    visitors = visitors_of(total_bytes=2 * work.nbytes + 100, idle_s=10, clock=lambda: now[0])
    first, second, third = (new_name() for _ in range(3))
    visitors.put(first, work)
    now[0] = 5
    visitors.put(second, work)
    visitors.send(third, b"x" * 100)
    with pytest.raises(PageFull):
        visitors.put(third, work)
    with pytest.raises(PageFull):
        visitors.send(new_name(), b"x")
    visitors.send(third, b"y" * 100)  # in place of the earlier
    now[0] = 11
    visitors.put(third, work)
    assert [visitors.find(name) is work for name in (first, second, third)] == [False, True, True]


def test_images_and_files_of_one_take_a_limited_memory(actions: Actions, work: Work) -> None:
    visitors = visitors_of(visitor_bytes=work.nbytes + 100)
    visitors.put(NAME, work)
    visitors.send(NAME, b"x" * 100)
    with pytest.raises(PageFull, match=r"over the limit of 1\.0 MiB; upload a smaller one"):
        visitors.send(NAME, b"x" * 101)
    grown = opened(actions, "1" * 32)
    grown.pictures["step-1.jpg"] = b"x" * 101
    with pytest.raises(PageFull):
        visitors.put(new_name(), grown)
    assert visitors.get(NAME) is work is visitors.for_writing(NAME)
    work.pictures["step-1.jpg"] = b"x" * 101
    with pytest.raises(PageFull, match=r"the work on this picture takes 1\.0 MiB.*; open the picture again"):
        visitors.for_writing(NAME)


def test_a_file_counts_while_it_comes_and_no_longer_when_it_breaks_off() -> None:
    visitors = visitors_of(total_bytes=3 << 20)
    with pytest.raises(PageFull), visitors.receiving(NAME) as grow:
        for size in range(0, 9 << 20, 1 << 16):
            grow(size)
    assert len(visitors) == 0
    with visitors.receiving(NAME) as grow:
        grow(2 << 20)
        with pytest.raises(PageFull):
            visitors.send("1" * 32, b"x" * (1 << 20) + b"x")
    visitors.send("1" * 32, b"x" * (3 << 20))


def test_a_full_page_says_so_to_newcomers_and_continues_for_the_others(models: Models) -> None:
    with served(models, visitors=2) as client:
        active = Stranger(client)
        assert "canvas.webp" in active.act("_open_scene", event_data={"index": 0, "value": None})
        for number in range(100):
            client.cookies.clear()
            newcomer = Stranger(client)
            sent = newcomer.upload(SCENES[0].read_bytes())
            told = newcomer.act("_open_scene", event_data={"index": 1, "value": None}) if number % 10 < 2 else ""
            assert sent.status_code == (200 if number == 0 else 503)
            assert "page_full" in (told if number and told else "page_full")
        assert sent.text.startswith("page_full: the page has reached its limit")
        client.cookies.clear()
        client.cookies.set(COOKIE, active.name)
        assert "yellow" in active.act("_talk", "What colour is the square?", "agent")


@pytest.mark.parametrize("name", [None, "", "me", "0" * 31, "G" * 32, 7, ["0" * 32], "../" * 10])
def test_a_name_that_we_did_not_give_is_replaced(actions: Actions, visitors: Visitors, name: object) -> None:
    seen = actions.open_scene(name, 0)
    assert re.fullmatch("[0-9a-f]{32}", seen.visitor) and visitors.find(name) is None
    assert visitors.find(seen.visitor) is seen.work is not None


def visitors_of(**given: Any) -> Visitors:
    """Visitors within wide bounds, but for those given."""
    return Visitors(**{"max_visitors": 10, "visitor_bytes": 1 << 30, "total_bytes": 1 << 30, "idle_s": 60, "keep_s": 60, **given})


@pytest.mark.parametrize("name", ["visitors", "visitor_bytes", "page_bytes", "visitor_idle_s", "visitor_s"])
def test_limits_are_numbers_above_zero(name: str) -> None:
    for value in (0, -1):
        given: dict[str, Any] = {name: value}
        with pytest.raises(InvalidSetting, match=f"{name} is {value}"):
            replace(ServerSettings(), **given)


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
