"""The page as people meet it: a real browser at a real `roi-agent serve --ui`.

`ROI_AGENT_PICTURES=docs/pictures pytest tests/test_page.py -k pictures` writes the documentation's pictures.
"""

import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from roi_agent.tools.exchange import add_coco
from roi_agent.tools.workspace import Workspace
from tests.browser import Person, browser
from tests.chat_server import call, calls, chat_server, find, says
from tests.serving import ROOT, Serving, serving

SCENE = ROOT / "examples" / "scene1.png"
UMBRELLA, SQUARE = (123.0, 194.0, 303.0, 377.0), (315.0, 145.0, 504.0, 334.0)
FLAG = (140, 10, 106, 123)  # x, y, width, height
# Pixels in the colour of region3 well within its box, where nothing else has that colour.
_OUTLINED = """() => {
  const canvas = document.querySelector("canvas.canvas-annotator");
  const pixels = canvas.getContext("2d").getImageData((canvas.width - 512) / 2 + 150, 20, 86, 103).data;
  let found = 0;
  for (let at = 0; at < pixels.length; at += 4) found += pixels[at] < 60 && pixels[at + 1] > 120 && pixels[at + 2] < 150;
  return found > 50;
}"""
Visit = Callable[..., Person]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def served(chromium: Browser) -> Iterator[Serving]:
    with serving("--ui") as running:
        yield running


@pytest.fixture
def visit(chromium: Browser, served: Serving) -> Iterator[Visit]:
    """People who come to the page; whatever they do, nothing is fetched from elsewhere and no script fails."""
    people: list[Person] = []

    def come(**options: Any) -> Person:
        people.append(Person(chromium, served.address, **options))
        return people[-1]

    yield come
    for person in people:
        elsewhere = [url for url in person.requests if not url.startswith((served.address, "data:", "blob:"))]
        assert person.requests and elsewhere == []
        assert person.faults == []
        person.context.close()


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


def test_two_browsers_do_not_see_each_other(visit: Visit) -> None:
    one, other = visit(), visit()
    one.open_scene(1)
    one.draw("region1", UMBRELLA)
    other.page.reload()
    expect(other.page.locator("#roi-scenes img").first).to_be_visible()
    expect(other.canvas).to_have_count(0)
    other.open_scene(2)
    expect(other.page.locator("[data-region]")).to_have_count(0)
    other.question.fill("What is region1?")
    other.question.press("Enter")
    expect(other.chat).to_contain_text("unknown region")
    expect(one.chat).not_to_contain_text("unknown region")
    assert one.link("regions.json") != other.link("regions.json")


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


def test_the_agents_steps_appear_with_their_pictures_and_its_work_can_be_taken_away(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.page.get_by_label("Let the agent work").check()
    person.ask("What colour is the largest thing right of the umbrella?", "yellow")
    expect(person.chat).to_contain_text("find_regions")
    pictures = person.chat.locator('img[alt^="Picture of step"]')
    assert pictures.count() >= 2
    expect(pictures.first).to_be_visible()
    assert pictures.first.evaluate("(image) => image.complete && image.naturalWidth") > 100
    trace = person.fetch("trace.json").json()
    assert trace["task"].startswith("What colour") and len(trace["steps"]) >= 3
    assert "yellow" in person.fetch("trace.html").text()
    Image.open(io.BytesIO(person.fetch("picture.png").body())).verify()
    workspace = Workspace()
    name = json.loads(person.fetch("regions.json").text())["images"][0]["file_name"]
    assert add_coco(workspace, person.fetch("regions.json").json(), {name: SCENE})


def test_what_is_drawn_while_the_agent_works_stays(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.page.get_by_label("Let the agent work").check()
    person.question.fill("What colour is the largest thing right of the umbrella?")
    person.question.press("Enter")
    for box in [(20, 20, 100, 100), (380, 20, 460, 100), (200, 400, 300, 480)]:
        person.drag(*box)
    expect(person.page.locator("#roi-chat .bot").last).to_contain_text("confidence")
    expect(person.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    person.page.wait_for_function("roi.told === 0 && roi.turn === null && roi.boxes.every((box) => box.label)")
    boxes = [each["bbox"] for each in person.fetch("regions.json").json()["annotations"]]
    for x1, y1, x2, y2 in [(20, 20, 100, 100), (380, 20, 460, 100), (200, 400, 300, 480)]:
        assert any(each == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=3) for each in boxes)
    assert person.page.evaluate("roi.boxes.length") == len(boxes)


def test_another_picture_may_be_opened_while_the_agent_works(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.page.get_by_label("Let the agent work").check()
    person.question.fill("What colour is the largest thing right of the umbrella?")
    person.question.press("Enter")
    before = person.page.evaluate("roi.marks.work")
    person.page.get_by_role("button", name="Open a picture").click()
    person.page.locator("#roi-scenes button.thumbnail-lg, #roi-scenes button.thumbnail-item").nth(1).click()
    person.page.wait_for_function(f"roi.marks.work !== '{before}'")
    person.draw("region1", (136, 258, 310, 452))
    expect(person.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    person.page.get_by_label("Ask the model").check()
    person.ask("What is region1?", "a large purple bell")
    expect(person.chat).not_to_contain_text("umbrella")


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
        ("page.png", {}),
        ("page-dark.png", {"color_scheme": "dark"}),
        ("page-phone.png", {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}),
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


def test_behind_a_key_the_agent_of_a_language_model_works_and_can_be_stopped(chromium: Browser) -> None:
    key, task = "a-long-secret", "What colour is the umbrella?"
    with chat_server() as chat:
        ask = call("ask_about_regions", question="What colour is <region1>?")
        model = chat.script(
            calls(find("umbrella")), calls(ask), says("orange (region1)"), calls(find("flag")), says("", wait_s=300)
        )
        with serving("--ui", "--planner", f"openai:{model}", "--base-url", chat.url, key=key) as running:
            person = Person(chromium, running.address, http_credentials={"username": "anybody", "password": key})
            person.open_scene(1)
            person.page.get_by_label("Let the agent work").check()
            person.ask(task, "orange (region1)")
            assert person.fetch("trace.json").json()["planner"] == model
            person.question.fill("And how many flags?")
            person.question.press("Enter")
            expect(person.chat).to_contain_text('find_regions(phrases=["flag"])')
            person.page.get_by_role("button", name="Stop").click()
            expect(person.page.locator("#roi-chat .bot").last).to_contain_text("cancelled")
            expect(person.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
            person.page.get_by_label("Ask the model").check()
            person.ask("What is region1?", "a large orange umbrella")
            assert person.faults == [] and chat.complaints(model) == []
            person.context.close()


def test_many_visitors_at_once_get_the_answers_to_their_own_questions(visit: Visit) -> None:
    boxes = [(UMBRELLA, "a large orange umbrella"), (SQUARE, "a large yellow square")]
    people = [visit() for _ in range(6)]
    for number, person in enumerate(people):
        person.open_scene(1)
        person.draw("region1", boxes[number % 2][0])
        person.question.fill("What is region1?")
    for person in people:
        person.question.press("Enter")
    for number, person in enumerate(people):
        expect(person.chat).to_contain_text(boxes[number % 2][1])
        expect(person.chat).not_to_contain_text(boxes[1 - number % 2][1])


def test_a_server_stops_at_once_though_a_page_is_open(visit: Visit, served: Serving) -> None:
    person = visit()
    person.open_scene(1)
    begin = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - begin < 15  # and not the half minute that requests in progress may have
