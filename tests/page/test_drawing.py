"""On the page, in a real browser: boxes are drawn, moved, named and asked about, things found, pictures opened."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.scene import SCENE, SQUARE, UMBRELLA, Visit

FLAG = (140, 10, 106, 123)  # x, y, width, height
# Pixels in the colour of region3 well within its box, where nothing else has that colour.
_OUTLINED = """() => {
  const canvas = document.querySelector("canvas.canvas-annotator");
  const pixels = canvas.getContext("2d").getImageData((canvas.width - 512) / 2 + 150, 20, 86, 103).data;
  let found = 0;
  for (let at = 0; at < pixels.length; at += 4) found += pixels[at] < 60 && pixels[at + 1] > 120 && pixels[at + 2] < 150;
  return found > 50;
}"""


def test_two_boxes_are_drawn_and_the_answers_are_right_and_stream(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.draw("region1", UMBRELLA)
    person.draw("region2", SQUARE)
    person.page.evaluate(
        """() => { window.grown = []; new MutationObserver(() => {
          const all = document.querySelectorAll('#roi-chat .bot'); if (all.length) window.grown.push(all[0].innerText.trim());
        }).observe(document.querySelector('#roi-chat'), {subtree: true, childList: true, characterData: true}); }"""
    )
    person.ask("What is region1?", "a large orange umbrella")
    grown = person.page.evaluate("window.grown")
    assert any(text and text != "a large orange umbrella" and "a large orange umbrella".startswith(text) for text in grown)
    person.ask("Is region1 left of region2?", "yes")
    person.ask("Why?", "region1 is at the left of region2")
    person.ask("What is <region2>?", "a large yellow square")
    expect(person.chat.locator(".user")).to_have_count(4)


def test_reloading_the_page_keeps_everything(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.draw("region1", UMBRELLA)
    person.ask("What is this?", "a large orange umbrella")
    expect(person.chat).to_contain_text("about region1")
    person.page.reload()
    expect(person.chat).to_contain_text("a large orange umbrella")
    expect(person.chip("region1")).to_be_visible()
    expect(person.canvas).to_be_visible()
    person.page.wait_for_function("roi.canvas !== null")
    person.draw("region2", SQUARE)
    person.ask("What is region2?", "a large yellow square")


def test_a_broken_picture_is_refused_in_one_line_and_a_good_one_opened(visit: Visit, tmp_path: Path) -> None:
    person, broken = visit(), tmp_path / "broken.png"
    broken.write_bytes(SCENE.read_bytes()[:400])
    person.page.locator("#roi-upload input[type=file]").set_input_files(broken)
    expect(person.status).to_contain_text("image_unreadable")
    assert "Traceback" not in person.page.content() and "\n" not in person.status.inner_text().strip()
    expect(person.canvas).to_have_count(0)
    person.page.locator("#roi-upload input[type=file]").set_input_files(SCENE)
    expect(person.canvas).to_be_visible()
    expect(person.page.locator(".roi-error")).to_have_count(0)


def test_a_file_that_is_too_large_is_refused_and_a_good_one_opened(visit: Visit, tmp_path: Path) -> None:
    person, large = visit(), tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(33 << 20)
    person.page.locator("#roi-upload input[type=file]").set_input_files(large)
    expect(person.page.get_by_test_id("toast-body")).to_contain_text("maximum allowed size")
    expect(person.canvas).to_have_count(0)
    person.page.locator("#roi-upload input[type=file]").set_input_files(SCENE)
    expect(person.canvas).to_be_visible()


def test_things_are_found_by_words_and_by_a_point(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    words = person.page.locator("#roi-words textarea")
    words.fill("orange umbrella . yellow square")
    words.press("Enter")
    expect(person.status).to_contain_text("2 found")
    expect(person.page.locator("[data-region]")).to_have_count(2)
    person.page.get_by_role("tab", name="Point at things").click()
    picture = person.page.locator("#roi-point img")
    expect(picture).to_be_visible()
    place = picture.bounding_box()
    assert place is not None
    picture.click(position={"x": place["width"] * 200 / 512, "y": place["height"] * 45 / 512})
    expect(person.status).to_contain_text("1 mask")
    expect(person.chip("region3")).to_be_visible()
    person.page.get_by_role("tab", name="Draw boxes").click()
    found = person.fetch("regions.json").json()
    assert found["annotations"][2]["bbox"] == pytest.approx(FLAG, abs=8) and found["annotations"][2]["segmentation"]
    person.page.wait_for_function(_OUTLINED)  # along the flag, and not only its box


def test_names_light_boxes_and_boxes_give_their_names(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.draw("region1", UMBRELLA)
    person.draw("region2", SQUARE)
    person.chip("region2").click()
    expect(person.chip("region2")).to_have_attribute("aria-pressed", "true")
    person.page.wait_for_function("roi.boxes.some((box) => box.label === '\\u25b6 region2')")
    person.question.fill("What is")
    person.page.mouse.click(*person.at(200, 250))
    expect(person.question).to_have_value("What is region1")
    expect(person.chip("region1")).to_have_attribute("aria-pressed", "true")
    person.ask("What is region2?", "a large yellow square")
    person.chat.locator("a", has_text="region2").first.click()
    expect(person.chip("region2")).to_have_attribute("aria-pressed", "true")


def test_a_box_is_named_moved_and_deleted(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.draw("region1", (20, 20, 100, 100))
    person.draw("region2", SQUARE)
    label = person.page.locator('[data-label="region2"]')
    label.fill("big square")
    label.press("Enter")
    person.page.wait_for_function("roi.boxes.some((box) => box.label === 'region2: big square')")
    person.page.get_by_label("Drag boxes").click()
    person.drag(60, 60, 160, 110)  # by its middle
    person.page.wait_for_function("roi.boxes.some((box) => box.label === 'region1' && box.xmin / (box.scaleFactor || 1) > 100)")
    expect(person.page.locator("[data-region]")).to_have_count(2)
    regions = person.fetch("regions.json").json()["annotations"]
    assert regions[0]["bbox"] == pytest.approx([120, 70, 80, 80], abs=3) and regions[1]["roi_agent"]["label"] == "big square"
    person.page.locator('[data-delete="region1"]').click()
    expect(person.page.locator("[data-region]")).to_have_count(1)
    expect(person.chip("region2")).to_be_visible()
