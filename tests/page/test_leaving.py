"""On the page, in a real browser: whoever leaves it, or presses Stop, ends the work of the segmenter at its next step."""

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from roi_agent.agent.planners import load_planner
from roi_agent.loading import load_models
from tests.browser import Person
from tests.chat_server import ChatServer, call, calls, says
from tests.page.scene import SCENE
from tests.serving import inside
from tests.stepping import SteppingSegmenter
from tests.ui.stranger import page

EVERYTHING = json.dumps({"image": "data:image/png;base64," + base64.b64encode(SCENE.read_bytes()).decode()}).encode()


class Site:
    """A page whose segmenter is held at each step, and whose agent segments everything."""

    def __init__(self, server: ChatServer) -> None:
        model = server.script(*[calls(call("segment_everything")), says("done")] * 4)
        self.segmenter = SteppingSegmenter()
        planner = load_planner(f"openai:{model}", base_url=server.url, api_key="k")
        self.app, self.address = page(load_models(segmenter=self.segmenter), planner), ""

    def check_ended(self) -> None:
        """The work ends at its next step, and the lane is free."""
        model = self.segmenter
        until(lambda: model.cancellation.cancelled)
        model.go.set()
        until(lambda: model.ended == 1)
        assert model.taken == 1
        kind = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}/v1/segment", EVERYTHING, kind), timeout=60) as told:
            assert told.status == 200


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def site(chromium: Browser, server: ChatServer) -> Iterator[Site]:
    with ThreadPoolExecutor(1) as pool:  # Playwright has an event loop in this one, in which no other can be run
        made = pool.submit(Site, server).result()
    with ExitStack() as stack:
        stack.callback(made.segmenter.go.set)
        made.address = f"http://127.0.0.1:{stack.enter_context(inside(made.app))}"
        yield made


def point(person: Person) -> None:
    person.page.get_by_role("tab", name="Point at things").click()
    picture = person.page.locator("#roi-point img")
    expect(picture).to_be_visible()
    picture.click(position={"x": 50, "y": 50})


def work(person: Person) -> None:
    person.set_to_work("Segment everything.")


@pytest.mark.parametrize("begin", [work, point])
def test_a_page_that_is_closed_ends_the_work_within_a_step(
    chromium: Browser, site: Site, begin: Callable[[Person], None]
) -> None:
    person = Person(chromium, site.address)
    person.open_scene(1)
    begin(person)
    assert site.segmenter.reached.wait(60)
    person.context.close()
    site.check_ended()


def test_stop_ends_the_agents_tool_within_a_step(chromium: Browser, site: Site) -> None:
    person = Person(chromium, site.address)
    person.open_scene(1)
    work(person)
    assert site.segmenter.reached.wait(60)
    person.page.get_by_role("button", name="Stop").click()
    site.check_ended()
    expect(person.page.locator("#roi-chat .bot").last).to_contain_text("it was cancelled")
    expect(person.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    assert person.faults == []
    person.context.close()
