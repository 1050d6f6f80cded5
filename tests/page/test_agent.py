"""On the page, in a real browser: the agent at work."""

import io
import json

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from roi_agent.tools.exchange import add_coco
from roi_agent.tools.workspace import Workspace
from tests.browser import Person
from tests.chat_server import call, calls, chat_server, find, says
from tests.page.scene import SCENE, Visit
from tests.serving import serving

TASK = "What colour is the largest thing right of the umbrella?"


def test_the_agents_steps_appear_with_their_pictures_and_its_work_can_be_taken_away(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.page.get_by_label("Run the agent").check()
    person.ask(TASK, "yellow")
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
    person.set_to_work(TASK)
    drawn = [(20, 20, 100, 100), (380, 20, 460, 100), (200, 400, 300, 480)]
    for box in drawn:
        person.drag(*box)
    expect(person.page.locator("#roi-chat .bot").last).to_contain_text("confidence")
    expect(person.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    person.page.wait_for_function("roi.sentAt === 0 && roi.editTimer === null && roi.boxes.every((box) => box.label)")
    boxes = [each["bbox"] for each in person.fetch("regions.json").json()["annotations"]]
    for x1, y1, x2, y2 in drawn:
        assert any(each == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=3) for each in boxes)
    assert person.page.evaluate("roi.boxes.length") == len(boxes)


def test_another_picture_may_be_opened_while_the_agent_works(visit: Visit) -> None:
    person = visit()
    person.open_scene(1)
    person.set_to_work(TASK)
    before = person.page.evaluate("roi.marks.work")
    person.page.get_by_role("button", name="Open a picture").click()
    person.choose_scene(2)
    person.page.wait_for_function(f"roi.marks.work !== '{before}'")
    person.draw("region1", (136, 258, 310, 452))
    expect(person.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    person.page.get_by_label("Ask the model").check()
    person.ask("What is region1?", "a large purple bell")
    expect(person.chat).not_to_contain_text("umbrella")


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
            person.page.get_by_label("Run the agent").check()
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
