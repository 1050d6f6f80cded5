"""The page behind a proxy, in a real browser: with or without its Host and forwarded headers, and under a path."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import Person
from tests.page.scene import SCENE, UMBRELLA
from tests.proxy import proxy
from tests.serving import Serving, serving

HOST = "pictures.localhost"  # which a browser finds on this machine


@pytest.fixture(scope="module")
def at_root(chromium: Browser) -> Iterator[Serving]:
    with serving("--ui", "--public-url", f"http://{HOST}") as running:
        yield running


@pytest.fixture(scope="module")
def at_path(chromium: Browser) -> Iterator[Serving]:
    with serving("--ui", "--public-url", f"http://{HOST}/tools/roi/") as running:
        yield running


def _use(chromium: Browser, address: str) -> None:
    """Open a page, draw, ask, send a picture, point, and take the regions away."""
    person = Person(chromium, address)
    person.open_scene(1)
    person.draw("region1", UMBRELLA)
    person.ask("What is region1?", "a large orange umbrella")
    status = person.page.evaluate("(href) => fetch(href).then((answer) => answer.status)", person.link("regions.json"))
    assert status == 200
    person.page.locator("#roi-open button").first.click()
    before = person.page.evaluate("roi.marks.work")
    person.page.locator("#roi-upload input[type=file]").set_input_files(SCENE)
    person.page.wait_for_function(f"roi.marks.work !== '{before}'")
    person.page.get_by_role("tab", name="Point at things").click()
    picture = person.page.locator("#roi-point img")
    expect(picture).to_be_visible()
    person.page.wait_for_function("document.querySelector('#roi-point img').naturalWidth > 100")
    person.page.reload()
    expect(person.canvas).to_be_visible()
    assert person.faults == []
    assert [url for url in person.requests if not url.startswith((f"{address}/", "data:", "blob:"))] == []
    person.context.close()


@pytest.mark.parametrize(
    ("keeps_host", "forwards"),
    [
        pytest.param(True, True, id="Host kept, forwarded", marks=pytest.mark.sweep),
        pytest.param(True, False, id="Host kept, not forwarded", marks=pytest.mark.sweep),
        pytest.param(False, True, id="Host replaced, forwarded", marks=pytest.mark.sweep),
        pytest.param(False, False, id="Host replaced, not forwarded"),
    ],
)
def test_the_page_works_behind_a_proxy(chromium: Browser, at_root: Serving, keeps_host: bool, forwards: bool) -> None:
    with proxy(at_root.address, keeps_host=keeps_host, forwards=forwards) as port:
        _use(chromium, f"http://{HOST}:{port}")


@pytest.mark.parametrize(
    ("keeps_host", "forwards", "strips"),
    [
        pytest.param(True, True, True, id="forwarded", marks=pytest.mark.sweep),
        pytest.param(False, False, True, id="bare"),
        pytest.param(True, False, False, id="not stripped", marks=pytest.mark.sweep),
    ],
)
def test_the_page_works_under_a_path(chromium: Browser, at_path: Serving, keeps_host: bool, forwards: bool, strips: bool) -> None:
    with proxy(at_path.address, keeps_host=keeps_host, forwards=forwards, path="/tools/roi", strips=strips) as port:
        _use(chromium, f"http://{HOST}:{port}/tools/roi")
