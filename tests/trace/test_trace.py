"""Traces: saved and loaded without loss, as a page that needs nothing else, and in a terminal."""

import io
import json
import re
import resource
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from roi_agent import build_agent
from roi_agent.agent.result import Budget
from roi_agent.model.errors import RoiAgentError, TraceUnreadable
from roi_agent.model.utils.notebook_html import thumbnail
from roi_agent.trace import Step, Trace
from roi_agent.trace.terminal import show_step, show_trace

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return build_agent().run(SCENE, "What colour is the largest thing right of the umbrella?").trace


def test_a_saved_trace_is_loaded_as_it_was(trace: Trace, tmp_path: Path) -> None:
    folder = trace.save(tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {"trace.json", "trace.html", "answer.png", "workspace"}
    for loaded in (Trace.load(folder), Trace.load(folder / "trace.json")):
        assert loaded == trace
        assert loaded.workspace.regions() == trace.workspace.regions()
    assert trace.save(folder) == folder  # again, over itself


@pytest.mark.parametrize(
    "text,said",
    [
        ("{", "it is no JSON"),
        ("[]", "is of version None"),
        ('{"schema_version": 99}', "is of version 99, and version 1 is read here"),
        ('{"schema_version": 1}', "is damaged: 'steps'"),
        ('{"schema_version": 1, "steps": [{"x": 1}], "usage": {}}', "is damaged"),
    ],
)
def test_a_damaged_trace_is_refused(trace: Trace, tmp_path: Path, text: str, said: str) -> None:
    trace.save(tmp_path)
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(TraceUnreadable, match=said):
        Trace.load(tmp_path)


def test_folders_that_hold_no_trace_or_take_none_are_refused(trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(TraceUnreadable, match="No such file"):
        Trace.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TraceUnreadable, match="cannot write to 'below'"):
        trace.save(tmp_path / "file" / "below")
    other = build_agent().run(SCENE.with_name("scene2.png"), "Is there a flag?").trace
    with pytest.raises(RoiAgentError, match="workspace_conflict"):
        other.save(trace.save(tmp_path / "run"))


class Parts(HTMLParser):
    """What a page is made of: its tags with attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Parts:
    parts = Parts()
    parts.feed(page)
    return parts


def test_the_page_shows_every_step_and_needs_nothing_else(trace: Trace) -> None:
    page = trace.to_html()
    parts = parsed(page)
    assert trace.task in parts.text and trace.said in parts.text
    assert [attrs["id"] for tag, attrs in parts.tags if tag == "li"] == [f"step{step.number}" for step in trace.steps]
    for step in trace.steps:
        assert step.name in parts.text or step.kind == "planner"
        assert step.text in parts.text
    assert not re.search(r"https?://|url\(|<script|<link|@import", page)
    images = [attrs for tag, attrs in parts.tags if tag == "img"]
    assert len(images) >= 4 and all(str(each["src"]).startswith("data:image/") and each["alt"] for each in images)
    assert any("region8" in str(each["alt"]) for each in images)
    assert {"lang", "name"} <= {key for _, attrs in parts.tags for key in attrs}


def test_words_of_others_are_shown_and_never_run(trace: Trace) -> None:
    sly = "</p><script>alert(1)</script><img src=x onerror=alert(1)>"
    step = replace(trace.steps[1], text=sly, arguments={"phrases": [sly]})
    page = replace(trace, task=sly, said=sly, answer=sly, doubts=(sly,), steps=(step,)).to_html()
    parts = parsed(page)
    assert not [tag for tag, attrs in parts.tags if tag == "script" or "onerror" in attrs]
    assert parts.text.count("<script>alert(1)</script>") >= 4


def test_a_long_trace_makes_a_page_of_bearable_size(trace: Trace) -> None:
    tools = [step for step in trace.steps if step.kind == "tool"]
    steps = tuple(replace(tools[number % len(tools)], number=number + 1) for number in range(40))
    page = replace(trace, steps=steps).to_html()
    assert len(page) < 4_000_000


def test_pictures_show_the_regions_of_a_step(trace: Trace) -> None:
    found = next(step for step in trace.steps if step.name == "find_regions")
    picture, answer = trace.picture(found), trace.picture()
    assert picture is not None and answer is not None and picture.size == (512, 512)
    plain = Image.open(SCENE).convert("RGB")
    assert picture.tobytes() != plain.tobytes() and picture.tobytes() != answer.tobytes()
    assert trace.picture(replace(found, regions=())) is None
    assert trace.picture(replace(found, regions=("region99",))) is None
    assert thumbnail(Image.new("RGB", (4000, 10)), 1024).size == (1024, 3) and thumbnail(picture, 1024) is picture


def test_a_zoomed_part_is_shown_as_it_was_seen(trace: Trace) -> None:
    part = trace.workspace.add_crop("region1", margin=0.25)
    step = Step(1, "tool", "zoom_in", "image2 is ...", {"region": "region1"}, image=part.name)
    images = trace.workspace.images
    picture = trace.picture(step)
    assert picture is not None and max(picture.size) >= 512
    assert picture.width % part.size_wh[0] == 0 and trace.workspace.images == images


def shown(trace: Trace, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    show_trace(console, trace)
    return console.export_text()


def test_the_terminal_shows_every_step_and_the_answer(trace: Trace) -> None:
    text = shown(trace)
    assert text.startswith(trace.task) and trace.answer in text and "confidence" in text
    for step in trace.steps:
        assert f"{step.number:>3}  " in text and (step.kind == "planner" or step.name in text)


def test_the_terminal_takes_no_words_for_markup_and_shortens() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    show_step(console, Step(1, "tool", "find_regions", "[bold red]no[/] " + "x" * 5000, {"phrases": ["[/nope]"]}, error=True))
    show_step(console, Step(2, "tool", "count_regions", "\n".join(map(str, range(100)))))
    show_step(console, Step(3, "planner", "offline", "", {"calls": [{"name": "count_regions", "args": {}}]}))
    text = console.export_text()
    assert "[bold red]no[/]" in text and '["[/nope]"]' in text and "(96 more lines)" in text and "count_regions()" in text
    assert len(text) < 2000


@pytest.mark.parametrize("there", [False, True])
def test_ctrl_c_while_a_trace_is_written_leaves_nothing_of_it(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    folder = tmp_path / "run"
    if there:
        folder.mkdir()

    def stopped(_: Trace) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trace, "to_html", stopped)
        trace.save(folder)
    assert list(tmp_path.rglob("*")) == ([folder] if there else [])
    assert Trace.load(trace.save(folder)) == trace


def test_ctrl_c_over_an_earlier_trace_leaves_the_earlier_one(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trace.save(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def stopped(_: Trace) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trace, "to_html", stopped)
    with pytest.raises(KeyboardInterrupt):
        replace(trace, answer="another").save(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert Trace.load(folder) == trace


def test_a_full_disk_leaves_nothing_of_a_trace(trace: Trace, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for num_bytes in (2_000, 60_000):  # the picture does not fit; the picture does, and the page does not
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))  # as a full disk: a file of so many bytes and no more
        try:
            with pytest.raises(RoiAgentError, match=r"cannot (be written|write to 'run'): File too large"):
                trace.save(tmp_path / "run")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(tmp_path.iterdir()) == []
    assert Trace.load(trace.save(tmp_path / "run")) == trace


def test_a_partial_run_has_a_trace_too(tmp_path: Path) -> None:
    result = build_agent(budget=Budget(steps=2)).run(SCENE, "What colour is the umbrella?")
    loaded = Trace.load(result.trace.save(tmp_path))
    assert loaded.status == "partial" and loaded.answer == result.answer and loaded.picture() is None
    assert not (tmp_path / "answer.png").exists()
    assert json.loads((tmp_path / "trace.json").read_text())["status"] == "partial"
