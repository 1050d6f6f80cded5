"""A trace as a self-contained HTML page: the answer, then each step with its picture.

Tasks, labels and replies are untrusted: the template escapes everything. Pictures are embedded; consecutive steps with the same
picture show it once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image

from roi_agent.model.utils.notebook_html import data_url
from roi_agent.trace.steps import Step, arguments_text

_OPEN_STEPS = 12  # steps whose pictures are expanded initially
_PAGE_SIDE, _CARD_SIDE, _STEP_SIDE = 1024, 360, 240  # maximum size of a picture, in pixels


class TraceView(Protocol):
    """The parts of a `Trace` that a page needs, besides the fields used in the templates."""

    @property
    def steps(self) -> Sequence[Step]:
        """All steps."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Handles of the evidence for the answer."""

    def picture(self, step: Step | None = None) -> Image.Image | None:
        """The picture of a step, or of the answer."""


def page(trace: TraceView) -> str:
    """Render the page of a trace, which needs no other file and no network."""
    answer = _embed_picture(trace.picture(), "the answer", trace.regions, _PAGE_SIDE)
    return _template("page.html.j2").render(trace=trace, answer_picture=answer, steps=list(_steps(trace, _PAGE_SIDE)))


def card(trace: TraceView) -> str:
    """Render the card of a trace for notebooks: the answer, and the collapsed steps with thumbnails."""
    answer = _embed_picture(trace.picture(), "the answer", trace.regions, _CARD_SIDE)
    return _template("card.html.j2").render(trace=trace, answer_picture=answer, steps=list(_steps(trace, _STEP_SIDE)))


def _template(name: str) -> Template:
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(name)


def _steps(trace: TraceView, side: int) -> Iterator[dict[str, Any]]:
    previous = ""
    for position, step in enumerate(trace.steps):
        shown = None if step.kind == "planner" else trace.picture(step)
        picture = _embed_picture(shown, f"step {step.number}", step.regions, side)
        if picture is not None and picture["source"] == previous:
            picture = None
        elif picture is not None:
            previous = picture["source"]
        yield {
            "number": step.number,
            "kind": step.kind,
            "name": step.name,
            "arguments": arguments_text(step.arguments),
            "text": step.text,
            "error": step.error,
            "time": f"{step.seconds:.2f} s",
            "tokens": step.input_tokens + step.output_tokens,
            "picture": picture,
            "open": position < _OPEN_STEPS,
        }


def _embed_picture(picture: Image.Image | None, what: str, handles: tuple[str, ...], side: int) -> dict[str, str] | None:
    """Return the picture as a data URL, with its alternative text."""
    if picture is None:
        return None
    named = ", ".join(handles[:12]) + (f" and {len(handles) - 12} more" if len(handles) > 12 else "")
    return {"source": data_url(picture, side), "text": f"Picture of {what}" + (f": {named}" if named else "")}
