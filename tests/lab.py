"""A real JupyterLab in a process of its own, and somebody who has a notebook open in it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, FloatRect, Locator, Page, expect

from tests.browser import WAIT_MS, drag
from tests.serving import ROOT

_OPTIONS = ("--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--LabApp.extension_manager=readonly")
# Nothing is fetched or asked, and every cell is on the page, also while it is not seen.
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
_FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
}


@contextmanager
def lab(notebooks: Path, own: Path) -> Iterator[str]:
    """JupyterLab over a folder of notebooks; gives its address, with {} for the path of a notebook.

    own: an empty folder for all that it keeps of itself.  It is gone with its kernels afterwards.
    """
    for name, values in _SETTINGS.items():
        file = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    folders = {name: str(own / folder) for name, folder in _FOLDERS.items()}
    environment = {**os.environ, **folders, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyterlab", *_OPTIONS, f"--ServerApp.root_dir={notebooks}"]
    with (own / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=own, stdout=log, stderr=log)
    try:
        server = _started(process, own)
        yield f"{server['url']}lab/tree/{{}}?token={server['token']}"
    finally:
        _kill(process)


def _started(process: subprocess.Popen[bytes], own: Path) -> dict[str, str]:
    """What the server writes about itself as soon as it listens."""
    until = time.monotonic() + WAIT_MS / 1000
    while time.monotonic() < until and process.poll() is None:
        for file in own.glob("runtime/jpserver-*.json"):
            with suppress(json.JSONDecodeError):  # half written
                found: dict[str, str] = json.loads(file.read_text())
                return found
        time.sleep(0.05)
    raise AssertionError((own / "log").read_text())


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and its kernels, which are processes in sessions of their own; nothing they keep is wanted."""
    kernels = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    for kernel in kernels:
        with suppress(ProcessLookupError):
            os.kill(int(kernel), signal.SIGKILL)


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)


class Reader:
    """Somebody with a notebook open.  requests: addresses that the browser fetched.  faults: of the scripts in it."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.requests, self.faults = list[str](), list[str]()
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(address)
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("(ipykernel) | Idle")  # before, cells are not run

    def cell(self, number: int) -> Locator:
        """A cell of code with its outputs, counted from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run(self, number: int) -> str:
        """Run a cell with the keyboard, and wait for its end; gives the text of its outputs, of which there must be one."""
        cell = self.cell(number)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        cell.locator(".cm-content").click()
        expect(self.page.locator(".jp-Notebook.jp-mod-editMode .jp-CodeCell.jp-mod-active .cm-content")).to_be_focused()
        self.page.keyboard.press("Shift+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).to_have_text(re.compile(r"\[\d+\]:"))
        outputs = cell.locator(".jp-OutputArea-output")
        expect(outputs.first).to_be_visible()
        return "".join(outputs.all_inner_texts()).strip()

    def picture(self, number: int) -> "Picture":
        """What `pick` shows below a cell that has run."""
        return Picture(self.page, self.cell(number).locator(".roi-agent-pick"))


class Picture:
    """The widget of `pick` and the mouse over it; all places are in pixels of the picture that the widget was given."""

    def __init__(self, page: Page, widget: Locator) -> None:
        self.page, self.widget = page, widget
        expect(widget.locator("svg")).to_be_visible()
        self.sent_side: int = widget.locator("img").evaluate("image => image.naturalWidth")
        self.names = widget.locator("svg text.clickable")

    @property
    def shown_side(self) -> float:
        """How wide it is on the screen."""
        return self._place()["width"]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the picture is on the screen."""
        place = self._place()
        scale = place["width"] / self.sent_side
        return place["x"] + x * scale, place["y"] + y * scale

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        drag(self.page, self.at(x1, y1), self.at(x2, y2))

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def _place(self) -> FloatRect:
        image = self.widget.locator("img")
        image.scroll_into_view_if_needed()
        place = image.bounding_box()
        assert place is not None
        return place
