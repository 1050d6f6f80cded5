"""A trace as one self-contained HTML page: the answer, then each step with its picture.

Tasks, labels and replies are data: the template escapes everything.  Pictures are inside the page; one that several steps in a
row share stands at the first of them only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image

from roi_agent.model.utils.notebook_html import data_url
from roi_agent.trace.steps import Step, arguments_text

_OPEN = 12  # steps whose pictures are open from the start
_SIDE, _CARD_SIDE, _STEP_SIDE = 1024, 360, 240  # pixels of a picture at most: in a page, in a card, and of its steps


class Shown(Protocol):
    """What a page needs of a `Trace`, beside what the templates name."""

    @property
    def steps(self) -> Sequence[Step]:
        """All of them."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Handles that the answer rests on."""

    def picture(self, step: Step | None = None) -> Image.Image | None:
        """What a step shows, or the answer."""


def page(trace: Shown) -> str:
    """The page of a trace, which needs no other file and no network."""
    answer = _embedded(trace.picture(), "the answer", trace.regions, _SIDE)
    return _template("page.html.j2").render(trace=trace, answer_picture=answer, steps=list(_steps(trace, _SIDE)))


def card(trace: Shown) -> str:
    """What a notebook shows of a trace: the answer, and the steps folded away, with thumbnails."""
    answer = _embedded(trace.picture(), "the answer", trace.regions, _CARD_SIDE)
    return _template("card.html.j2").render(trace=trace, answer_picture=answer, steps=list(_steps(trace, _STEP_SIDE)))


def _template(name: str) -> Template:
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(name)


def _steps(trace: Shown, side: int) -> Iterator[dict[str, Any]]:
    shown = ""
    for position, step in enumerate(trace.steps):
        picture = None if step.kind == "planner" else _embedded(trace.picture(step), f"step {step.number}", step.regions, side)
        if picture is not None and picture["source"] == shown:
            picture = None
        elif picture is not None:
            shown = picture["source"]
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
            "open": position < _OPEN,
        }


def _embedded(picture: Image.Image | None, what: str, handles: tuple[str, ...], side: int) -> dict[str, str] | None:
    """The picture as a data URL, and a text that says what it shows."""
    if picture is None:
        return None
    named = ", ".join(handles[:12]) + (f" and {len(handles) - 12} more" if len(handles) > 12 else "")
    return {"source": data_url(picture, side), "text": f"Picture of {what}" + (f": {named}" if named else "")}
