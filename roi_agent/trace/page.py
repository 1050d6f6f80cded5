"""A trace as one self-contained HTML page: the answer, then each step with its picture.

Tasks, labels and replies are data: the template escapes everything.  Pictures are inside the page; one that several steps in a
row share stands at the first of them only.
"""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from roi_agent.trace.record import Trace, arguments_text, shrunk

_OPEN = 12  # steps whose pictures are open from the start


def page(trace: Trace) -> str:
    """The page of a trace, which needs no other file and no network."""
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template("page.html.j2")
    answer = _embedded(trace.picture(), "the answer", trace.regions)
    return template.render(trace=trace, answer_picture=answer, steps=list(_steps(trace)))


def _steps(trace: Trace) -> Iterator[dict[str, Any]]:
    shown = ""
    for position, step in enumerate(trace.steps):
        picture = None if step.kind == "planner" else _embedded(trace.picture(step), f"step {step.number}", step.regions)
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


def _embedded(picture: Image.Image | None, what: str, handles: tuple[str, ...]) -> dict[str, str] | None:
    """The picture as a data URL, as the smaller of PNG and JPEG, with a text that says what it shows."""
    if picture is None:
        return None
    files = []
    for format, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 88})):
        data = io.BytesIO()
        shrunk(picture).save(data, format, **options)
        files.append((len(data.getvalue()), format.lower(), data.getvalue()))
    _, kind, content = min(files)
    named = ", ".join(handles[:12]) + (f" and {len(handles) - 12} more" if len(handles) > 12 else "")
    text = f"Picture of {what}" + (f": {named}" if named else "")
    return {"source": f"data:image/{kind};base64,{base64.b64encode(content).decode()}", "text": text}
