"""HTML and Markdown of the page.  Texts of visitors, images and models are untrusted: they are escaped here and nowhere else."""

import html
import re
from collections.abc import Sequence

from roi_agent.model.errors import RoiAgentError
from roi_agent.model.geometry.regions import Region
from roi_agent.tools.drawing import colour

_HANDLE = re.compile(r"(?:&lt;)?\b(region[1-9][0-9]*)\b(?:&gt;)?")
_NO_REGIONS = '<p class="roi-hint">No regions yet: drag a box on the picture, point at an object, or find objects by words.</p>'
_ADD = (
    '<li class="roi-chip roi-add">'
    '<button type="button" data-add="box" title="Add a box in the middle of the picture">+ box</button></li>'
)
_KEYS = (
    '<p class="roi-hint roi-keys">'
    "Arrow keys move the box, Shift + arrow keys resize it, Ctrl + arrow keys move it by one pixel, and Delete removes it.</p>"
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$>-])")


def plain(text: str) -> str:
    """Escape text for Markdown and HTML."""
    return _MARKDOWN.sub(r"\\\1", html.escape(text, quote=False))


def linked(text: str) -> str:
    """As `plain`, with the names of regions as links that highlight their boxes."""
    parts = _HANDLE.split(html.escape(text, quote=False))
    return "".join(f"[{part}](#{part})" if index % 2 else _MARKDOWN.sub(r"\\\1", part) for index, part in enumerate(parts))


def chips(regions: Sequence[Region], *, highlighted: str | None, open_names: Sequence[str]) -> str:
    """Return buttons that highlight and delete each region, and one that adds a box.

    open_names: drafts, whose labels can be edited.
    """
    hint = "" if regions else _NO_REGIONS
    rows = "".join(_chip(region, highlighted, region.name in open_names) for region in regions)
    return f'{hint}<ul class="roi-chips">{rows}{_ADD}</ul>{_KEYS if regions else ""}'


def _chip(region: Region, highlighted: str | None, writable: bool) -> str:
    name, label = region.name, html.escape(region.label or "")
    text = f'<span class="roi-label">{label}</span>' if label else ""
    if writable:
        text = (
            f'<input data-label="{name}" value="{label}" placeholder="what is it?" maxlength="80" aria-label="What {name} shows">'
        )
    return (
        f'<li class="roi-chip" style="--roi:{colour(region)}">'
        f'<button type="button" data-region="{name}" aria-pressed="{"true" if name == highlighted else "false"}" '
        f'title="Highlight the box of {name}">{name}</button>{text}'
        f'<button type="button" class="roi-delete" data-delete="{name}" aria-label="Delete {name}">&times;</button></li>'
    )


def status(text: str = "", error: RoiAgentError | None = None) -> str:
    """Return the status line: the result of an action, or an error and what to do."""
    if error is not None:
        text = "; ".join(filter(None, (error.problem, error.do)))
        return f'<p class="roi-status roi-error" role="alert"><b>{html.escape(error.code)}</b>: {html.escape(text)}</p>'
    return f'<p class="roi-status" role="status">{html.escape(text)}</p>' if text else ""


def files(base: str, *, trace: bool) -> str:
    """Return the download links.  base: address of the visitor's files."""
    names = [("picture.png", "Annotated picture"), ("regions.json", "Regions (COCO JSON)")]
    names += [("trace.html", "Trace (HTML)"), ("trace.json", "Trace (JSON)")] if trace else []
    links = "".join(f'<li><a href="{base}/{name}" download="{name}">{text}</a></li>' for name, text in names)
    more = "" if trace else '<li class="roi-hint">A trace is available after the agent has run.</li>'
    return f'<ul class="roi-files">{links}{more}</ul>'
