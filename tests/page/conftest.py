"""A browser, a real `roi-agent serve --ui`, and people who use the one at the other."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser import Person, browser
from tests.page.scene import Visit
from tests.serving import Serving


@pytest.fixture(scope="module")  # its event loop must not outlive the module: other tests need their own
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def served(chromium: Browser, served_with_page: Serving) -> Serving:
    return served_with_page


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
