"""The page by keyboard, on a phone, in the dark.

`ROI_AGENT_PICTURES=docs/pictures pytest tests/page -k pictures -m "not benchmark"` writes the documentation's pictures.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.page.scene import SQUARE, UMBRELLA, Visit


def test_the_keyboard_is_enough_to_open_find_and_ask(visit: Visit) -> None:
    person = visit()
    keyboard = person.page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(60):
            keyboard.press("Tab")
            if person.page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
                return
        raise AssertionError(f"the Tab key does not reach {selector}")

    tab_to("#roi-scenes button")
    keyboard.press("Enter")
    expect(person.canvas).to_be_visible()
    tab_to("#roi-words textarea")
    keyboard.type("orange umbrella")
    keyboard.press("Enter")
    expect(person.chip("region1")).to_be_visible()
    tab_to('[data-region="region1"]')
    keyboard.press("Enter")
    expect(person.chip("region1")).to_have_attribute("aria-pressed", "true")
    tab_to("#roi-question textarea")
    keyboard.type("What is region1?")
    keyboard.press("Enter")
    expect(person.chat).to_contain_text("a large orange umbrella")


def test_boxes_are_added_moved_sized_and_deleted_by_keyboard(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    keyboard = person.page.keyboard

    def box(number: int) -> list[float]:
        found: list[float] = person.fetch("regions.json").json()["annotations"][number]["bbox"]
        return found

    def press(keys: str, times: int, wanted: list[float]) -> None:
        for _ in range(times):
            keyboard.press(keys)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and box(-1) != pytest.approx(wanted, abs=1):
            time.sleep(0.1)
        assert box(-1) == pytest.approx(wanted, abs=1)

    person.link("regions.json")  # opens the folded list, which would take the focus later
    person.page.locator("[data-add]").focus()
    keyboard.press("Enter")
    expect(person.chip("region1")).to_be_focused()
    assert box(0) == pytest.approx([192, 192, 128, 128], abs=1)
    person.page.wait_for_function("roi.boxes.some((box) => box.label === 'region1')")
    press("ArrowLeft", 6, [132, 192, 128, 128])
    press("Shift+ArrowRight", 4, [132, 192, 168, 128])
    press("Shift+ArrowDown", 5, [132, 192, 168, 178])
    press("Control+ArrowUp", 3, [132, 189, 168, 178])
    press("ArrowLeft", 20, [0, 189, 168, 178])  # up to the edge
    press("ArrowRight", 13, [130, 189, 168, 178])
    expect(person.chip("region1")).to_be_focused()
    person.ask("What is region1?", "a large orange umbrella")
    person.chip("region1").focus()
    keyboard.press("ArrowDown")  # it was used: its name keeps what it meant, and the box gets a new one
    expect(person.chip("region2")).to_be_focused()
    expect(person.chip("region1")).to_have_count(0)
    keyboard.press("Delete")
    expect(person.page.locator("[data-region]")).to_have_count(0)
    expect(person.page.locator("[data-add]")).to_be_focused()


def test_a_phone_shows_it_all_without_scrolling_sideways(visit: Visit) -> None:
    person = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert not person.scrolls_sideways()
    person.open_scene(1)
    words = person.page.locator("#roi-words textarea")
    words.fill("orange umbrella . yellow square")
    words.press("Enter")
    expect(person.chip("region2")).to_be_visible()
    person.page.wait_for_function("roi.boxes.length === 2")
    person.page.touchscreen.tap(*person.at(200, 250))
    expect(person.question).to_have_value("region1")
    left = "roi.plain(roi.boxes.find((box) => box.label.includes('region{}'))).xmin"
    before = person.page.evaluate(left.format(2))
    person.chip("region2").focus()
    person.page.keyboard.press("ArrowLeft")
    person.page.wait_for_function(f"roi.boxes.some((box) => box.label.startsWith('region3')) && {left.format(3)} < {before} - 8")
    person.ask("What is region1?", "a large orange umbrella")
    assert not person.scrolls_sideways()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("page.png", {}, marks=pytest.mark.sweep),
        ("page-dark.png", {"color_scheme": "dark"}),
        pytest.param(
            "page-phone.png",
            {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
            marks=pytest.mark.sweep,
        ),
    ],
)
def test_pictures_of_the_page(visit: Visit, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    folder = Path(os.environ.get("ROI_AGENT_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    person = visit(**options)
    person.open_scene(1)
    person.draw("region1", UMBRELLA)
    person.draw("region2", SQUARE)
    person.ask("What is region1?", "a large orange umbrella")
    person.ask("Is region1 left of region2?", "yes")
    person.picture(folder / name)
    with Image.open(folder / name) as picture:
        assert picture.width >= 390 and len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100
    assert (folder / name).stat().st_size < 300_000
