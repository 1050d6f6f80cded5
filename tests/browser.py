"""A real browser, and a person who uses the page in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 60_000  # a machine may be busy


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium; tests are skipped where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(_OPTIONS))
        try:
            yield started
        finally:
            started.close()


def drag(page: Page, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, from one place of the window to another."""
    page.mouse.move(*begin)
    page.mouse.down()
    page.mouse.move((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


class Person:
    """Somebody with a browser of their own at the page.  requests: addresses that it fetched.  faults: of its scripts."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(WAIT_MS)
        self.address, self.requests, self.faults = address, list[str](), list[str]()
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(f"{address}/ui/")
        expect(self.page.locator("#roi-scenes img").first).to_be_visible()

    @property
    def canvas(self) -> Locator:
        return self.page.locator("canvas.canvas-annotator")

    @property
    def question(self) -> Locator:
        return self.page.locator("#roi-question textarea")

    @property
    def chat(self) -> Locator:
        return self.page.locator("#roi-chat")

    @property
    def status(self) -> Locator:
        return self.page.locator("#roi-status")

    def chip(self, name: str) -> Locator:
        """The button of a region below the picture."""
        return self.page.locator(f'[data-region="{name}"]')

    def open_scene(self, number: int) -> None:
        self.choose_scene(number)
        expect(self.canvas).to_be_visible()
        expect(self.page.locator(".roi-hint").first).to_be_visible()
        self.page.wait_for_function("roi.marks !== null && document.querySelector('canvas.canvas-annotator').height > 100")

    def choose_scene(self, number: int) -> None:
        self.page.locator("#roi-scenes button.thumbnail-lg, #roi-scenes button.thumbnail-item").nth(number - 1).click()

    def at(self, x: float, y: float, side: int = 512) -> tuple[float, float]:
        """Where a pixel of a square image stands in the window: in the middle of the canvas, never enlarged."""
        self.canvas.scroll_into_view_if_needed()
        place = self.canvas.bounding_box()
        assert place is not None
        scale = min(1.0, place["width"] / side)
        return place["x"] + (place["width"] - side * scale) / 2 + x * scale, place["y"] + y * scale

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        drag(self.page, self.at(x1, y1), self.at(x2, y2))

    def draw(self, name: str, box: tuple[float, float, float, float]) -> None:
        self.drag(*box)
        expect(self.chip(name)).to_be_visible()
        self.page.wait_for_function(f"roi.boxes.some((box) => box.label.includes('{name}'))")

    def ask(self, text: str, answer: str) -> None:
        """Ask, and wait for an answer that holds these words."""
        self.question.fill(text)
        self.question.press("Enter")
        expect(self.page.locator("#roi-chat .bot").last).to_contain_text(answer)
        expect(self.page.locator("#roi-chat .bot").last).to_contain_text("confidence")

    def set_to_work(self, task: str) -> None:
        """Let the agent begin with a task."""
        self.page.get_by_label("Run the agent").check()
        self.question.fill(task)
        self.question.press("Enter")

    def fetch(self, name: str) -> Any:
        """A file to take away, as Playwright's response."""
        return self.context.request.get(urljoin(self.address, self.link(name)))

    def link(self, name: str) -> str:
        """The path of a file to take away, from the folded list below the regions."""
        link = self.page.locator(f'#roi-files a[href$="/{name}"]')
        if not link.is_visible():
            self.page.get_by_role("button", name="Export").click()
        path = link.get_attribute("href")
        assert path is not None
        return path

    def scrolls_sideways(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def picture(self, path: Path) -> None:
        self.page.evaluate("window.scrollTo(0, 0)")
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=path)
