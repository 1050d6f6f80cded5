"""Several people at the page at once, and a server that stops under them."""

from playwright.sync_api import Browser, expect

from tests.browser import Person
from tests.page.scene import SQUARE, UMBRELLA, Visit
from tests.serving import serving


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


def test_many_visitors_at_once_get_the_answers_to_their_own_questions(visit: Visit) -> None:
    boxes = [(UMBRELLA, "a large orange umbrella"), (SQUARE, "a large yellow square")]
    people = [visit() for _ in range(3)]
    for number, person in enumerate(people):
        person.open_scene(1)
        person.draw("region1", boxes[number % 2][0])
        person.question.fill("What is region1?")
    for person in people:
        person.question.press("Enter")
    for number, person in enumerate(people):
        expect(person.chat).to_contain_text(boxes[number % 2][1])
        expect(person.chat).not_to_contain_text(boxes[1 - number % 2][1])


def test_a_server_stops_at_once_though_a_page_is_open(chromium: Browser) -> None:
    with serving("--ui") as running:
        person = Person(chromium, running.address)
        person.open_scene(1)
        person.page.wait_for_load_state("networkidle")  # work in progress is waited for, an open page is not
        assert running.stop() == 0
        person.context.close()
    # uvicorn says so where it waited as long as requests in progress may take.
    assert not [line for line in running.lines if "graceful shutdown exceeded" in line]
